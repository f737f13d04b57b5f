#include "tests/support/attention_reference.hpp"

#include <cmath>
#include <limits>
#include <numeric>

namespace glint::ops::reference {
namespace {

double dot(const double* a, const double* b, int64_t n) { return std::inner_product(a, a + n, b, 0.0); }

double scale_of(const std::optional<double>& scale, const Head& head) {
  return scale.value_or(1.0 / std::sqrt(static_cast<double>(head.q.columns)));
}

/// What stands for one block when it is not read exactly.
struct Statistics {
  double count = 0.0;
  std::vector<double> mean;       ///< of k
  std::vector<double> value_sum;  ///< of v
  Matrix covariance;              ///< sum of (k - mean)^T v, [d,e]
  double variance = 0.0;          ///< mean of |k - mean|^2
};

Statistics statistics(const Head& head, Range block) {
  Statistics s;
  s.count = static_cast<double>(block.count);
  s.covariance = Matrix{head.k.columns, head.v.columns};
  s.mean.assign(static_cast<size_t>(head.k.columns), 0.0);
  s.value_sum.assign(static_cast<size_t>(head.v.columns), 0.0);
  for (int64_t t = block.begin; t < block.begin + block.count; ++t) {
    for (size_t i = 0; i < s.mean.size(); ++i) s.mean[i] += head.k.row(t)[i] / s.count;
    for (size_t i = 0; i < s.value_sum.size(); ++i) s.value_sum[i] += head.v.row(t)[i];
  }
  for (int64_t t = block.begin; t < block.begin + block.count; ++t)
    for (size_t i = 0; i < s.mean.size(); ++i) {
      const double centred = head.k.row(t)[i] - s.mean[i];
      s.variance += centred * centred / s.count;
      for (size_t c = 0; c < s.value_sum.size(); ++c)
        s.covariance.row(static_cast<int64_t>(i))[c] += centred * head.v.row(t)[c];
    }
  return s;
}

std::vector<double> mean_row(const Matrix& x, Range block) {
  std::vector<double> mean(static_cast<size_t>(x.columns), 0.0);
  for (int64_t t = block.begin; t < block.begin + block.count; ++t)
    for (size_t i = 0; i < mean.size(); ++i) mean[i] += x.row(t)[i] / static_cast<double>(block.count);
  return mean;
}

/// The indices of the largest `count` scores, best first, ties to the lowest index.
std::vector<int32_t> top(const std::vector<double>& scores, int64_t count) {
  std::vector<int32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return scores[static_cast<size_t>(a)] > scores[static_cast<size_t>(b)];
  });
  order.resize(static_cast<size_t>(count));
  return order;
}

/// Softmax-weighted sum of value rows, each with a logit and a weight of its own.
struct Softmax {
  std::vector<double> logits, weights;  ///< the weight counts in the denominator
  std::vector<const double*> values;    ///< already multiplied by the weight

  void add(double logit, double weight, const double* value) {
    logits.push_back(logit);
    weights.push_back(weight);
    values.push_back(value);
  }
  /// Fills `out` with the quotient and calls more(numerator, exp of a logit) before the division.
  template <typename More>
  void into(double* out, int64_t columns, More&& more) const {
    const double max = *std::max_element(logits.begin(), logits.end());
    std::fill(out, out + columns, 0.0);
    double denominator = 0.0;
    for (size_t i = 0; i < logits.size(); ++i) {
      const double p = std::exp(logits[i] - max);
      denominator += p * weights[i];
      for (int64_t c = 0; c < columns; ++c) out[c] += p * values[i][c];
    }
    more([max](double logit) { return std::exp(logit - max); });
    for (int64_t c = 0; c < columns; ++c) out[c] /= denominator;
  }
};

/// out += factor * q H
void add_first_order(double* out, const double* q, const Matrix& covariance, double factor) {
  for (int64_t i = 0; i < covariance.rows; ++i)
    for (int64_t c = 0; c < covariance.columns; ++c) out[c] += factor * q[i] * covariance.row(i)[c];
}

void pisa_row(const Head& head, const PisaOptions& options, const std::vector<Statistics>& blocks,
              const Matrix& all, const std::vector<int32_t>& selected, const double* q, double* out) {
  const double scale = scale_of(options.scale, head);
  const Grid grid{head.k.rows, options.block_size};
  std::vector<bool> exact(blocks.size());
  for (int32_t j : selected) exact[static_cast<size_t>(j)] = true;
  Softmax softmax;
  std::vector<double> logits;
  for (size_t j = 0; j < blocks.size(); ++j) {
    logits.push_back(scale * dot(q, blocks[j].mean.data(), head.k.columns));
    if (!exact[j]) softmax.add(logits[j], blocks[j].count, blocks[j].value_sum.data());
    const Range block = grid.block(static_cast<int64_t>(j));
    for (int64_t t = block.begin; exact[j] && t < block.begin + block.count; ++t)
      softmax.add(scale * dot(q, head.k.row(t), head.k.columns), 1.0, head.v.row(t));
  }
  softmax.into(out, head.v.columns, [&](auto&& exp_of) {
    double mass = 0.0;
    for (size_t j = 0; j < blocks.size(); ++j) {
      if (exact[j]) continue;
      mass += blocks[j].count * exp_of(logits[j]);
      if (options.order == TaylorOrder::First)
        add_first_order(out, q, blocks[j].covariance, scale * exp_of(logits[j]));
    }
    if (options.order == TaylorOrder::Hybrid)
      add_first_order(out, q, all, scale * mass / static_cast<double>(head.k.rows));
  });
}

/// P = softmax(scale * mean queries . mean keys), [blocks, blocks]; also the means of v.
struct Coarse {
  Matrix weights, values;
};

Coarse coarse_attention(const Head& head, const IsaGrid& grid, double scale) {
  const int64_t blocks = grid.blocks();
  Head means{{blocks, head.q.columns}, {blocks, head.k.columns}, {blocks, head.v.columns}};
  for (int64_t i = 0; i < blocks; ++i) {
    const auto put = [&](const Matrix& from, Matrix& to) {
      const std::vector<double> mean = mean_row(from, grid.block(i));
      std::copy(mean.begin(), mean.end(), to.row(i));
    };
    put(head.q, means.q);
    put(head.k, means.k);
    put(head.v, means.v);
  }
  Coarse coarse{{blocks, blocks}, means.v};
  for (int64_t i = 0; i < blocks; ++i) {
    double* p = coarse.weights.row(i);
    for (int64_t j = 0; j < blocks; ++j) p[j] = scale * dot(means.q.row(i), means.k.row(j), head.q.columns);
    const double max = *std::max_element(p, p + blocks);
    std::transform(p, p + blocks, p, [max](double x) { return std::exp(x - max); });
    const double sum = std::accumulate(p, p + blocks, 0.0);
    std::transform(p, p + blocks, p, [sum](double x) { return x / sum; });
  }
  return coarse;
}

/// The kept keys and values, a zero row for -1.
Head gathered(const Head& head, const KeptKeys& keys) {
  const auto rows = static_cast<int64_t>(keys.tokens.size());
  Head kept{head.q, {rows, head.k.columns}, {rows, head.v.columns}};
  for (int64_t t = 0; t < rows; ++t) {
    const int32_t from = keys.tokens[static_cast<size_t>(t)];
    if (from < 0) continue;
    std::copy_n(head.k.row(from), head.k.columns, kept.k.row(t));
    std::copy_n(head.v.row(from), head.v.columns, kept.v.row(t));
  }
  return kept;
}

/// Sums over a kept block, and the mean key as its weight divides it.
Statistics kept_statistics(const Head& kept, const KeptKeys& keys, size_t j) {
  Statistics s = statistics(kept, keys.blocks[j]);
  for (double& x : s.mean) x *= s.count / keys.weights[j];
  s.count = keys.weights[j];
  return s;
}

void isa_row(const Head& kept, const KeptKeys& keys, const std::vector<Statistics>& blocks, double scale,
             const std::vector<int32_t>* exact, const double* q, double* out) {
  Softmax softmax;
  for (size_t j = 0; j < blocks.size(); ++j) {
    if (exact && std::find(exact->begin(), exact->end(), static_cast<int32_t>(j)) == exact->end()) {
      softmax.add(scale * dot(q, blocks[j].mean.data(), kept.k.columns), blocks[j].count,
                  blocks[j].value_sum.data());
      continue;
    }
    for (int64_t t = keys.blocks[j].begin; t < keys.blocks[j].begin + keys.blocks[j].count; ++t)
      softmax.add(scale * dot(q, kept.k.row(t), kept.k.columns), 1.0, kept.v.row(t));
  }
  softmax.into(out, kept.v.columns, [](auto&&) {});
}

}  // namespace

Matrix dense(const Head& head, double scale) {
  Matrix out{head.q.rows, head.v.columns};
  for (int64_t i = 0; i < head.q.rows; ++i) {
    Softmax softmax;
    for (int64_t t = 0; t < head.k.rows; ++t)
      softmax.add(scale * dot(head.q.row(i), head.k.row(t), head.k.columns), 1.0, head.v.row(t));
    softmax.into(out.row(i), out.columns, [](auto&&) {});
  }
  return out;
}

Blocks pisa_select(const Head& head, const PisaOptions& options) {
  const Grid keys{head.k.rows, options.block_size}, queries{head.q.rows, options.block_size};
  const double scale = scale_of(options.scale, head);
  std::vector<Statistics> blocks;
  for (int64_t j = 0; j < keys.blocks(); ++j) blocks.push_back(statistics(head, keys.block(j)));
  Blocks selected;
  for (int64_t i = 0; i < queries.blocks(); ++i) {
    const std::vector<double> q = mean_row(head.q, queries.block(i));
    std::vector<double> scores;
    for (const Statistics& s : blocks) {
      double score = scale * dot(q.data(), s.mean.data(), head.k.columns);
      const std::vector<double>& h = s.covariance.values;
      if (options.selection == BlockSelection::Covariance)
        score += std::log(std::sqrt(dot(h.data(), h.data(), static_cast<int64_t>(h.size()))) + 1e-5);
      if (options.selection == BlockSelection::Variance) score += std::log(std::max(s.variance, 1e-8));
      scores.push_back(score);
    }
    for (int64_t j : options.forced_blocks)
      scores[static_cast<size_t>(j < 0 ? j + keys.blocks() : j)] = std::numeric_limits<double>::infinity();
    std::vector<int32_t> best = top(scores, budget(options.density, keys.blocks()));
    std::sort(best.begin(), best.end());
    selected.push_back(std::move(best));
  }
  return selected;
}

Matrix pisa(const Head& head, const PisaOptions& options, const Blocks& selected) {
  const Grid keys{head.k.rows, options.block_size};
  std::vector<Statistics> blocks;
  Matrix all{head.k.columns, head.v.columns};
  for (int64_t j = 0; j < keys.blocks(); ++j) {
    blocks.push_back(statistics(head, keys.block(j)));
    const std::vector<double>& h = blocks.back().covariance.values;
    std::transform(h.begin(), h.end(), all.values.begin(), all.values.begin(), std::plus<>());
  }
  Matrix out{head.q.rows, head.v.columns};
  for (int64_t i = 0; i < head.q.rows; ++i)
    pisa_row(head, options, blocks, all, selected[static_cast<size_t>(i / options.block_size)], head.q.row(i),
             out.row(i));
  return out;
}

Plan isa_plan(const Head& head, const IsaOptions& options) {
  const IsaGrid grid{options.main_length, head.q.rows, options.padded_tail};
  const double scale = scale_of(options.scale, head);
  const int64_t main = grid.main_blocks();
  const Matrix p = coarse_attention(head, grid, scale).weights;

  Plan plan;
  std::vector<double> looked_at(static_cast<size_t>(grid.context_blocks()), 0.0);
  for (int64_t i = 0; i < main; ++i)
    for (size_t j = 0; j < looked_at.size(); ++j) looked_at[j] += p.row(i)[main + static_cast<int64_t>(j)];
  plan.context = top(looked_at, grid.kept(options.context_keep));

  std::vector<double> sharpness;
  for (int64_t i = 0; i < grid.blocks(); ++i) {
    std::vector<double> row(p.row(i), p.row(i) + main);
    std::sort(row.begin(), row.end(), std::greater<>());
    const int64_t count = main == 0 ? 0 : budget(options.density, main);
    sharpness.push_back(std::accumulate(row.begin(), row.begin() + count, 0.0));
  }
  const std::vector<int32_t> order = top(sharpness, grid.blocks());
  const int64_t sharp = grid.sharp(options.sharp_share);
  plan.sharp.assign(order.begin(), order.begin() + sharp);
  plan.diffuse.assign(order.begin() + sharp, order.end());

  const KeptKeys keys = kept_keys(grid, plan.context.data(), static_cast<int64_t>(plan.context.size()));
  const Head kept = gathered(head, keys);
  for (int32_t i : plan.diffuse) {
    const std::vector<double> q = mean_row(head.q, grid.block(i));
    std::vector<double> scores;
    for (const Range& block : keys.blocks)  // sums of keys: a short block weighs less
      scores.push_back(dot(q.data(), mean_row(kept.k, block).data(), head.k.columns) *
                       static_cast<double>(block.count));
    std::vector<int32_t> best =
        top(scores, grid.exact(options.density, static_cast<int64_t>(plan.context.size())));
    std::sort(best.begin(), best.end());
    plan.exact.push_back(std::move(best));
  }
  return plan;
}

Matrix isa(const Head& head, const IsaOptions& options, const Plan& plan, const std::vector<double>& gate) {
  const IsaGrid grid{options.main_length, head.q.rows, options.padded_tail};
  const double scale = scale_of(options.scale, head);
  const KeptKeys keys = kept_keys(grid, plan.context.data(), static_cast<int64_t>(plan.context.size()));
  const Head kept = gathered(head, keys);
  std::vector<Statistics> blocks;
  for (size_t j = 0; j < keys.blocks.size(); ++j) blocks.push_back(kept_statistics(kept, keys, j));

  Matrix out{head.q.rows, head.v.columns};
  const auto fill = [&](int32_t block, const std::vector<int32_t>* exact) {
    const Range range = grid.block(block);
    for (int64_t t = range.begin; t < range.begin + range.count; ++t)
      isa_row(kept, keys, blocks, scale, exact, head.q.row(t), out.row(t));
  };
  for (int32_t block : plan.sharp) fill(block, nullptr);
  for (size_t i = 0; i < plan.diffuse.size(); ++i) fill(plan.diffuse[i], &plan.exact[i]);
  if (gate.empty()) return out;

  const Coarse coarse = coarse_attention(head, grid, scale);
  for (int64_t i = 0; i < grid.blocks(); ++i)
    for (int64_t t = grid.block(i).begin; t < grid.block(i).begin + grid.block(i).count; ++t)
      for (int64_t j = 0; j < grid.blocks(); ++j)
        for (int64_t c = 0; c < out.columns; ++c)
          out.row(t)[c] += gate[static_cast<size_t>(t)] * coarse.weights.row(i)[j] * coarse.values.row(j)[c];
  return out;
}

}  // namespace glint::ops::reference
