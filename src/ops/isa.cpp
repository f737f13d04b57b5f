// ISA: makes per-head decisions from coarse attention between block means, then one pass over all query
// blocks.
#include "ops/engine.hpp"
#include "ops/head.hpp"
#include "ops/parallel.hpp"
#include "ops/selection.hpp"

#include <functional>

namespace glint::ops {
namespace {

struct Work {
  const Operands& o;
  const IsaOptions& options;
  const PlanLists& plan;
  IsaGrid grid{options.main_length, o.q.tokens, options.padded_tail};
  int64_t d = o.q.size, e = o.v.size, blocks = grid.blocks();
  float scale = static_cast<float>(options.scale.value_or(1.0 / std::sqrt(static_cast<double>(d))));

  HeadRows rows(const Rows& x, int64_t head, int64_t token) const {
    return head_rows(x, head / o.heads, head % o.heads, token);
  }
  const int32_t* context(int64_t head) const { return plan.context.blocks + head * plan.context.count; }
  const int32_t* exact(int64_t head, int64_t row) const {
    return plan.exact.blocks + (head * plan.diffuse.count + row) * plan.exact.count;
  }
};

/// Returns the block means of [B,H,N,size] rows.
Buffer<float> block_means(const Work& w, const Rows& x, int64_t head, float* workspace) {
  Buffer<float> means(w.blocks * x.size);
  for (int64_t i = 0; i < w.blocks; ++i) {
    const Range block = w.grid.block(i);
    mean_of_rows(w.rows(x, head, block.begin), block.count, x.size, means.data() + i * x.size, workspace);
  }
  return means;
}

/// Calls visit(i, row) for every row of softmax(scale * q k^T) between block means, computing 64 at a time.
template <typename Visit>
void for_each_coarse_row(const Work& w, const float* q, const float* k, float* workspace, Visit&& visit) {
  const Buffer<float> tile(kScoreTile * w.blocks);
  for (int64_t i = 0; i < w.blocks; ++i) {
    if (i % kScoreTile == 0)
      scores(q + i * w.d, std::min(kScoreTile, w.blocks - i), k, w.blocks, w.d, w.scale, tile.data(),
             workspace);
    float* row = tile.data() + i % kScoreTile * w.blocks;
    const float max = *std::max_element(row, row + w.blocks);
    double sum = 0.0;
    for (int64_t j = 0; j < w.blocks; ++j) sum += row[j] = std::exp(row[j] - max);
    for (int64_t j = 0; j < w.blocks; ++j) row[j] /= static_cast<float>(sum);
    visit(i, row);
  }
}

/// Selects the context blocks most attended by main queries, best first, and ranks the query blocks by the
/// sum of their largest weights on main blocks: the first `sharp` are sharp, the others diffuse.
void choose_context_and_sharp(const Work& w, int64_t head, const float* q, const float* k, float* workspace) {
  const int64_t main = w.grid.main_blocks(), context = w.grid.context_blocks();
  const int64_t count = main == 0 ? 0 : budget(w.options.density, main);
  std::vector<float> looked_at(static_cast<size_t>(context), 0.0f), sharpness, largest;
  for_each_coarse_row(w, q, k, workspace, [&](int64_t i, const float* p) {
    for (int64_t j = 0; i < main && j < context; ++j) looked_at[static_cast<size_t>(j)] += p[main + j];
    largest.assign(p, p + main);
    std::partial_sort(largest.begin(), largest.begin() + count, largest.end(), std::greater<>());
    sharpness.push_back(std::accumulate(largest.begin(), largest.begin() + count, 0.0f));
  });
  const PlanLists& plan = w.plan;
  select_largest(looked_at.data(), context, plan.context.count, true,
                 plan.context.blocks + head * plan.context.count);
  std::vector<int32_t> order(static_cast<size_t>(w.blocks));
  select_largest(sharpness.data(), w.blocks, w.blocks, true, order.data());
  std::copy_n(order.begin(), plan.sharp.count, plan.sharp.blocks + head * plan.sharp.count);
  std::copy(order.begin() + plan.sharp.count, order.end(), plan.diffuse.blocks + head * plan.diffuse.count);
}

/// One head's kept keys and their block means.
struct KeptState {
  KeptKeys keys;
  FloatRows k, v;
  Buffer<float> zeros, key_mean, value_mean, log2_weight;
  Buffer<float> coarse;  ///< [blocks, E], or empty

  explicit KeptState(const Work& w) : k(w.o.k), v(w.o.v), zeros(kMaxHeadSize) {
    std::fill_n(zeros.data(), kMaxHeadSize, 0.0f);
  }
};

void mean_of_kept(const KeptKeys& keys, int64_t j, const FloatRows& rows, int64_t columns, float* mean) {
  std::fill_n(mean, columns, 0.0f);
  const Range block = keys.blocks[static_cast<size_t>(j)];
  for (int64_t t = block.begin; t < block.begin + block.count; ++t) {
    const int32_t token = keys.tokens[static_cast<size_t>(t)];
    for (int64_t c = 0; token >= 0 && c < columns; ++c) mean[c] += rows.row(token)[c];
  }
  for (int64_t c = 0; c < columns; ++c) mean[c] /= keys.weights[static_cast<size_t>(j)];
}

void keep(const Work& w, int64_t head, KeptState& s) {
  s.keys = kept_keys(w.grid, w.context(head), w.plan.context.count);
  s.k.bind(w.o.k, head / w.o.heads, head % w.o.heads);
  s.v.bind(w.o.v, head / w.o.heads, head % w.o.heads);
  s.k.convert({0, w.o.k.tokens});
  s.v.convert({0, w.o.v.tokens});
  const auto blocks = static_cast<int64_t>(s.keys.blocks.size());
  s.key_mean = Buffer<float>(blocks * w.d);
  s.value_mean = Buffer<float>(blocks * w.e);
  s.log2_weight = Buffer<float>(blocks);
  for (int64_t j = 0; j < blocks; ++j) {
    mean_of_kept(s.keys, j, s.k, w.d, s.key_mean.data() + j * w.d);
    mean_of_kept(s.keys, j, s.v, w.e, s.value_mean.data() + j * w.e);
    s.log2_weight[j] = std::log2(s.keys.weights[static_cast<size_t>(j)]);
  }
}

/// Selects the kept blocks each diffuse query block reads exactly: largest (sum of queries) . (sum of keys).
void choose_exact(const Work& w, const float* query_means, int64_t head, const KeptState& s,
                  float* workspace) {
  const auto blocks = static_cast<int64_t>(s.keys.blocks.size());
  const int32_t* diffuse = w.plan.diffuse.blocks + head * w.plan.diffuse.count;
  const Buffer<float> q(w.plan.diffuse.count * w.d), tile(kScoreTile * blocks);
  for (int64_t i = 0; i < w.plan.diffuse.count; ++i)
    std::copy_n(query_means + diffuse[i] * w.d, w.d, q.data() + i * w.d);
  for (int64_t i = 0; i < w.plan.diffuse.count; ++i) {
    if (i % kScoreTile == 0)
      scores(q.data() + i * w.d, std::min(kScoreTile, w.plan.diffuse.count - i), s.key_mean.data(), blocks,
             w.d, 1.0f, tile.data(), workspace);
    float* row = tile.data() + i % kScoreTile * blocks;
    for (int64_t j = 0; j < blocks; ++j) row[j] *= s.keys.weights[static_cast<size_t>(j)];
    select_largest(row, blocks, w.plan.exact.count, false,
                   w.plan.exact.blocks + (head * w.plan.diffuse.count + i) * w.plan.exact.count);
  }
}

int64_t head_workspace(const Work& w) { return scores_workspace(2 * w.blocks + 1, w.d) + kMaxHeadSize; }

void plan_head(const Work& w, int64_t head, KeptState& s, float* workspace) {
  const Buffer<float> q = block_means(w, w.o.q, head, workspace), k = block_means(w, w.o.k, head, workspace);
  choose_context_and_sharp(w, head, q.data(), k.data(), workspace);
  keep(w, head, s);
  choose_exact(w, q.data(), head, s, workspace);
}

/// Returns the coarse attention's output, added through the gate.
Buffer<float> coarse_output(const Work& w, int64_t head, float* workspace) {
  const Buffer<float> q = block_means(w, w.o.q, head, workspace), k = block_means(w, w.o.k, head, workspace),
                      v = block_means(w, w.o.v, head, workspace);
  Buffer<float> out(w.blocks * w.e);
  std::fill_n(out.data(), w.blocks * w.e, 0.0f);
  for_each_coarse_row(w, q.data(), k.data(), workspace, [&](int64_t i, const float* p) {
    for (int64_t j = 0; j < w.blocks; ++j)
      for (int64_t c = 0; c < w.e; ++c) out[i * w.e + c] += p[j] * v[j * w.e + c];
  });
  return out;
}

/// Appends a range of kept tokens as runs of rows evenly spaced in memory.
void append_runs(const KeptState& s, Range range, std::vector<KeyRun>& runs) {
  for (int64_t t = range.begin, end; t < range.begin + range.count; t = end) {
    const int32_t token = s.keys.tokens[static_cast<size_t>(t)];
    const auto follows = [&](int64_t i) {
      const int32_t next = s.keys.tokens[static_cast<size_t>(i)];
      return token < 0 ? next < 0 : next == token + static_cast<int32_t>(i - t);
    };
    for (end = t + 1; end < range.begin + range.count && follows(end);) ++end;
    if (token < 0)
      runs.push_back({s.zeros.data(), s.zeros.data(), 0, 0, end - t, nullptr});
    else
      runs.push_back({s.k.row(token), s.v.row(token), s.k.stride(), s.v.stride(), end - t, nullptr});
  }
}

struct TileKeys {
  std::vector<KeyRun> exact, means;
};

/// Returns all kept keys for a sharp block; for a diffuse one, its exact blocks and the others' means.
TileKeys tile_keys(const Work& w, const KeptState& s, const int32_t* exact) {
  TileKeys keys;
  if (!exact) {
    append_runs(s, {0, static_cast<int64_t>(s.keys.tokens.size())}, keys.exact);
    return keys;
  }
  std::vector<char> chosen(s.keys.blocks.size(), 0);
  for (int64_t i = 0; i < w.plan.exact.count; ++i) chosen[static_cast<size_t>(exact[i])] = 1;
  for (size_t j = 0; j < chosen.size(); ++j) {
    const auto at = static_cast<int64_t>(j);
    if (chosen[j])
      append_runs(s, s.keys.blocks[j], keys.exact);
    else
      keys.means.push_back({s.key_mean.data() + at * w.d, s.value_mean.data() + at * w.e, w.d, w.e, 1,
                            s.log2_weight.data() + at});
  }
  return keys;
}

/// `row` counts sharp blocks first, then diffuse ones, so that long tasks run first.
void attend_block(const Work& w, const KeptState& s, int64_t head, int64_t row, const Gate& gate,
                  float* workspace) {
  const int64_t sharp = w.plan.sharp.count;
  const int32_t block = row < sharp ? w.plan.sharp.blocks[head * sharp + row]
                                    : w.plan.diffuse.blocks[head * w.plan.diffuse.count + row - sharp];
  const TileKeys keys = tile_keys(w, s, row < sharp ? nullptr : w.exact(head, row - sharp));
  const Range tokens = w.grid.block(block);
  const float* gates = gate.data
                           ? gate.data + (head / w.o.heads) * gate.batch_stride +
                                 (head % w.o.heads) * gate.head_stride + tokens.begin * gate.token_stride
                           : nullptr;
  attend({.q = w.rows(w.o.q, head, tokens.begin),
          .out = w.rows(w.o.out, head, tokens.begin),
          .queries = tokens.count,
          .d = w.d,
          .e = w.e,
          .scale = w.scale,
          .exact = keys.exact.data(),
          .exact_runs = static_cast<int64_t>(keys.exact.size()),
          .means = keys.means.data(),
          .mean_runs = static_cast<int64_t>(keys.means.size()),
          .moment = nullptr,
          .moment_share = 0.0f,
          .moments = nullptr,
          .moment_blocks = nullptr,
          .moment_stride = 0,
          .coarse = gates ? s.coarse.data() + block * w.e : nullptr,
          .gate = gates,
          .gate_stride = gate.token_stride},
         workspace);
}

template <typename Prepare, typename Finish>
void run(const Work& w, Prepare&& prepare, Finish&& finish) {
  const int64_t heads = w.o.batch * w.o.heads, threads = at::get_num_threads();
  std::vector<KeptState> states;
  for (int64_t i = 0; i < std::min(heads, threads); ++i) states.emplace_back(w);
  for_each_group(heads, threads, [&](int64_t first, int64_t count) {
    for_each_task(count, head_workspace(w), [&](int64_t i, float* workspace) {
      prepare(first + i, states[static_cast<size_t>(i)], workspace);
    });
    finish(first, count, states);
  });
}

}  // namespace

void isa_plan(const Operands& operands, const IsaOptions& options, const PlanLists& plan) {
  const Work w{operands, options, plan};
  run(
      w, [&](int64_t head, KeptState& s, float* workspace) { plan_head(w, head, s, workspace); },
      [](int64_t, int64_t, const std::vector<KeptState>&) {});
}

void isa(const Operands& operands, const IsaOptions& options, const PlanLists& plan, const Gate& gate) {
  const Work w{operands, options, plan};
  const auto prepare = [&](int64_t head, KeptState& s, float* workspace) {
    keep(w, head, s);
    if (gate.data) s.coarse = coarse_output(w, head, workspace);
  };
  run(w, prepare, [&](int64_t first, int64_t count, const std::vector<KeptState>& states) {
    for_each_task(count * w.blocks, attend_workspace(IsaGrid::kBlock, w.d, w.e),
                  [&](int64_t task, float* workspace) {
                    const int64_t i = task % count;
                    attend_block(w, states[static_cast<size_t>(i)], first + i, task / count, gate, workspace);
                  });
  });
}

}  // namespace glint::ops
