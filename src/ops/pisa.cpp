// PISA, in three parallel stages per group of heads: statistics over runs of key blocks, selection over
// heads, attention over query blocks.
#include "ops/engine.hpp"
#include "ops/head.hpp"
#include "ops/parallel.hpp"
#include "ops/selection.hpp"

#include <optional>

namespace glint::ops {
namespace {

/// What the call computes.
struct Work {
  const Operands& o;
  const PisaOptions& options;
  Grid queries{o.q.tokens, options.block_size}, keys{o.k.tokens, options.block_size};
  int64_t d = o.q.size, e = o.v.size, moment_stride = round_up(e, kPad);
  int64_t runs = ceil_div(keys.blocks(), kRunBlocks);
  float scale = static_cast<float>(options.scale.value_or(1.0 / std::sqrt(static_cast<double>(d))));
  bool select;    ///< select blocks
  bool attend;    ///< compute attention
  int64_t count;  ///< exact key blocks per query block

  bool dense() const { return count == keys.blocks(); }
  bool shared_order() const { return attend && !dense() && options.order == TaylorOrder::Hybrid; }
  bool own_order() const { return attend && !dense() && options.order == TaylorOrder::First; }
  bool needs_moment() const {
    return shared_order() || own_order() || (select && options.selection == BlockSelection::Covariance);
  }
  int64_t moment_size() const { return d * moment_stride; }
};

/// One head's statistics and selection.
struct HeadState {
  FloatRows k, v;
  Buffer<float> query_mean, key_mean, value_mean, log2_weight, bias, run_moments, moments, scores;
  Buffer<int32_t> own_selection;
  int32_t* selected = nullptr;

  explicit HeadState(const Work& w)
      : k(w.o.k),
        v(w.o.v),
        key_mean(w.keys.blocks() * w.d),
        value_mean(w.keys.blocks() * w.e),
        log2_weight(w.keys.blocks()),
        bias(w.keys.blocks()) {
    if (w.needs_moment()) run_moments = Buffer<float>(w.runs * w.moment_size());
    if (w.own_order()) moments = Buffer<float>(w.keys.blocks() * w.moment_size());
    if (!w.select) return;
    query_mean = Buffer<float>(w.queries.blocks() * w.d);
    scores = Buffer<float>(kScoreTile * w.keys.blocks());
    own_selection = Buffer<int32_t>(w.queries.blocks() * w.count);
  }
};

void bind(const Work& w, HeadState& s, int64_t head, const BlockList& selected) {
  s.k.bind(w.o.k, head / w.o.heads, head % w.o.heads);
  s.v.bind(w.o.v, head / w.o.heads, head % w.o.heads);
  s.selected =
      selected.blocks ? selected.blocks + head * w.queries.blocks() * w.count : s.own_selection.data();
}

void run_statistics(const Work& w, const HeadState& s, int64_t run, float* workspace) {
  const int64_t first = run * kRunBlocks, last = std::min(first + kRunBlocks, w.keys.blocks());
  const Range tokens{first * w.keys.size, std::min(last * w.keys.size, w.keys.tokens) - first * w.keys.size};
  s.k.convert(tokens);
  s.v.convert(tokens);
  if (w.dense()) return;
  statistics({.k = s.k.row(0),
              .v = s.v.row(0),
              .k_stride = s.k.stride(),
              .v_stride = s.v.stride(),
              .d = w.d,
              .e = w.e,
              .grid = w.keys,
              .first = first,
              .last = last,
              .key_mean = s.key_mean.data(),
              .value_mean = s.value_mean.data(),
              .log2_weight = s.log2_weight.data(),
              .bias = s.bias.data(),
              .selection = w.options.selection,
              .need_moment = w.needs_moment(),
              .moment_sum = w.needs_moment() ? s.run_moments.data() + run * w.moment_size() : nullptr,
              .moments = s.moments.data(),
              .moment_stride = w.moment_stride},
             workspace);
}

void select_blocks(const Work& w, const HeadState& s, int64_t head, float* workspace) {
  const int64_t rows = w.queries.blocks(), blocks = w.keys.blocks();
  for (int64_t i = 0; i < rows; ++i) {
    const Range block = w.queries.block(i);
    mean_of_rows(head_rows(w.o.q, head / w.o.heads, head % w.o.heads, block.begin), block.count, w.d,
                 s.query_mean.data() + i * w.d, workspace);
  }
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t in_tile = i % kScoreTile;
    if (in_tile == 0)
      scores(s.query_mean.data() + i * w.d, std::min(kScoreTile, rows - i), s.key_mean.data(), blocks, w.d,
             w.scale, s.scores.data(), workspace);
    float* score = s.scores.data() + in_tile * blocks;
    for (int64_t j = 0; j < blocks; ++j) score[j] += s.bias[j];
    for (int64_t j : w.options.forced_blocks)
      score[j < 0 ? j + blocks : j] = std::numeric_limits<float>::infinity();
    select_largest(score, blocks, w.count, false, s.selected + i * w.count);
  }
}

/// Completes a head's statistics: sums all moments into the first run's, in run order, then selects.
void finish_head(const Work& w, const HeadState& s, int64_t head, float* workspace) {
  float* sum = s.run_moments.data();
  for (int64_t run = 1; w.shared_order() && run < w.runs; ++run)
    for (int64_t i = 0; i < w.moment_size(); ++i) sum[i] += sum[run * w.moment_size() + i];
  if (!w.select) return;
  if (w.dense())
    for (int64_t i = 0; i < w.queries.blocks(); ++i)
      std::iota(s.selected + i * w.count, s.selected + (i + 1) * w.count, 0);
  else
    select_blocks(w, s, head, workspace);
}

/// The keys one tile reads; adjacent blocks merge into one run.
struct TileKeys {
  std::vector<KeyRun> exact, means;
  std::vector<int32_t> mean_blocks;
};

TileKeys tile_keys(const Work& w, const HeadState& s, const int32_t* selected) {
  std::vector<char> exact(static_cast<size_t>(w.keys.blocks()), 0);
  for (int64_t i = 0; i < w.count; ++i) exact[static_cast<size_t>(selected[i])] = 1;
  TileKeys keys;
  for (int64_t j = 0, end; j < w.keys.blocks(); j = end) {
    end = j;
    while (end < w.keys.blocks() && exact[static_cast<size_t>(end)] == exact[static_cast<size_t>(j)]) ++end;
    if (exact[static_cast<size_t>(j)]) {
      const int64_t begin = j * w.keys.size, stop = std::min(end * w.keys.size, w.keys.tokens);
      keys.exact.push_back(
          {s.k.row(begin), s.v.row(begin), s.k.stride(), s.v.stride(), stop - begin, nullptr});
    } else {
      keys.means.push_back({s.key_mean.data() + j * w.d, s.value_mean.data() + j * w.e, w.d, w.e, end - j,
                            s.log2_weight.data() + j});
      for (int64_t i = j; i < end; ++i) keys.mean_blocks.push_back(static_cast<int32_t>(i));
    }
  }
  return keys;
}

void attend_block(const Work& w, const HeadState& s, int64_t head, int64_t block, float* workspace) {
  const TileKeys keys = tile_keys(w, s, s.selected + block * w.count);
  const Range tokens = w.queries.block(block);
  attend({.q = head_rows(w.o.q, head / w.o.heads, head % w.o.heads, tokens.begin),
          .out = head_rows(w.o.out, head / w.o.heads, head % w.o.heads, tokens.begin),
          .queries = tokens.count,
          .d = w.d,
          .e = w.e,
          .scale = w.scale,
          .exact = keys.exact.data(),
          .exact_runs = static_cast<int64_t>(keys.exact.size()),
          .means = keys.means.data(),
          .mean_runs = static_cast<int64_t>(keys.means.size()),
          .moment = w.shared_order() ? s.run_moments.data() : nullptr,
          .moment_share = 1.0f / static_cast<float>(w.keys.tokens),
          .moments = s.moments.data(),
          .moment_blocks = keys.mean_blocks.data(),
          .moment_stride = w.moment_stride,
          .coarse = nullptr,
          .gate = nullptr,
          .gate_stride = 0},
         workspace);
}

void run(const Work& w, const BlockList& selected) {
  const int64_t heads = w.o.batch * w.o.heads, threads = at::get_num_threads(), blocks = w.queries.blocks();
  std::vector<HeadState> states;
  for (int64_t i = 0; i < std::min(heads, threads); ++i) states.emplace_back(w);
  const auto state = [&](int64_t i) -> HeadState& { return states[static_cast<size_t>(i)]; };
  for_each_group(heads, threads, [&](int64_t first, int64_t count) {
    for (int64_t i = 0; i < count; ++i) bind(w, state(i), first + i, selected);
    for_each_task(count * w.runs, statistics_workspace(w.keys.size, w.d, w.e),
                  [&](int64_t task, float* workspace) {
                    run_statistics(w, state(task / w.runs), task % w.runs, workspace);
                  });
    for_each_task(count, scores_workspace(w.keys.blocks(), w.d),
                  [&](int64_t i, float* workspace) { finish_head(w, state(i), first + i, workspace); });
    if (!w.attend) return;
    for_each_task(count * blocks, attend_workspace(w.keys.size, w.d, w.e),
                  [&](int64_t task, float* workspace) {
                    attend_block(w, state(task / blocks), first + task / blocks, task % blocks, workspace);
                  });
  });
}

}  // namespace

void pisa_select(const Operands& operands, const PisaOptions& options, BlockList selected) {
  run({.o = operands, .options = options, .select = true, .attend = false, .count = selected.count},
      selected);
}

void pisa(const Operands& operands, const PisaOptions& options, BlockList selected) {
  const bool select = selected.blocks == nullptr;
  const int64_t blocks = Grid{operands.k.tokens, options.block_size}.blocks();
  run({.o = operands,
       .options = options,
       .select = select,
       .attend = true,
       .count = select ? budget(options.density, blocks) : selected.count},
      selected);
}

}  // namespace glint::ops
