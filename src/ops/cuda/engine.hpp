// The attentions as sequences of kernels. Runs on any device that launches kernels and hands out memory: a
// GPU's stream, or the emulator of the tests.
//
//   PISA   statistics of key blocks (one pass over k and v), sum of moments, query means, selection,
//          attention
//   ISA    block means, coarse attention, rankings, statistics of the kept keys, selection, attention
//
// The matrix-unit kernels serve 16-bit elements, blocks of 64, head sizes up to 128 that are multiples of 8,
// and orders zeroth and hybrid; the plain ones everything else.
//
// A device has
//   template <typename T> T* allocate(int64_t count)   uninitialized, valid until the call's last kernel ends
//   template <typename Kernel, typename Params> void run(const Params&, int64_t x, int64_t y)
#pragma once

#include <glint/core/error.hpp>

#include "ops/cuda/kernels.hpp"
#include "ops/engine.hpp"

#include <cmath>

namespace glint::ops::cuda {

constexpr int kBlock = 64, kWidestTile = 128, kPlainRows = 32;

/// Returns the tile width with which matrix units can serve the operands, or 0.
inline int tile_width(const Operands& o, std::int64_t block_size) {
  if (o.q.element == Element::Float32 || block_size != kBlock) return 0;
  if (o.q.size > kWidestTile || o.v.size > kWidestTile) return 0;
  for (const Rows* x : {&o.q, &o.k, &o.v, &o.out})
    if (x->size % 8 || x->batch_stride % 8 || x->head_stride % 8 || x->token_stride % 8 ||
        reinterpret_cast<std::uintptr_t>(x->data) % 16)
      return 0;
  return o.q.size <= 64 && o.v.size <= 64 ? 64 : kWidestTile;
}

template <typename Device>
class Engine {
 public:
  /// `matrix_units`: whether to use them where they can be.
  Engine(Device& device, const Operands& operands, std::int64_t block_size, bool matrix_units = true)
      : device_(device),
        o_(operands),
        heads_(static_cast<int>(o_.batch * o_.heads)),
        d_(static_cast<int>(o_.q.size)),
        e_(static_cast<int>(o_.v.size)),
        tile_(matrix_units ? tile_width(o_, block_size) : 0) {
    GLINT_CHECK(o_.q.tokens < kMost && o_.k.tokens < kMost, InvalidArgument,
                "q, k: expected fewer than {} tokens on a GPU, got {} and {}", kMost, o_.q.tokens,
                o_.k.tokens);
    GLINT_CHECK(heads_ <= 65535, InvalidArgument,
                "q: expected at most 65535 heads of all batches on a GPU, got {}", heads_);
  }

  void pisa_select(const PisaOptions& options, BlockList selected) {
    const Blocks queries = regular(o_.q, options), keys = regular(o_.k, options);
    select_pisa(options, queries, keys, selected, pisa_statistics(options, keys, true, false, false),
                nullptr);
  }

  /// Selects blocks itself if `selected.blocks` is null.
  void pisa(const PisaOptions& options, BlockList selected) {
    const Blocks queries = regular(o_.q, options), keys = regular(o_.k, options);
    const int n = keys.blocks(), rows = queries.blocks();
    const bool select = selected.blocks == nullptr;
    if (select) selected.count = budget(options.density, n);
    AttendParams p = attend_params(queries, keys, options.scale);
    if (selected.count == n) {
      p.rows = p.all_rows = rows;
      return attend(p, tile_);
    }
    if (options.order == TaylorOrder::First) tile_ = 0;
    const KeyStatistics s = pisa_statistics(options, keys, select, options.order == TaylorOrder::Hybrid,
                                            options.order == TaylorOrder::First);
    const std::int64_t all_rows = std::int64_t{heads_} * rows;
    auto* mask = device_.template allocate<std::uint32_t>(all_rows * cuda::ceil_div(n, 32));
    if (select) {
      selected.blocks = device_.template allocate<int>(all_rows * selected.count);
      select_pisa(options, queries, keys, selected, s, mask);
    } else {
      make_mask(selected, rows, n, mask);
    }
    p.rows = rows;
    p.selected = selected.blocks;
    p.count = static_cast<int>(selected.count);
    p.mask = mask;
    use(s, p);
    attend(p, tile_);
  }

  void isa_plan(const IsaOptions& options, const PlanLists& plan) {
    const IsaGrid grid{options.main_length, o_.q.tokens, options.padded_tail};
    const Blocks cut = coarse_blocks(grid);
    const float *q = pool(o_.q, cut), *k = pool(o_.k, cut);
    const int n = cut.blocks(), main = static_cast<int>(grid.main_blocks());
    CoarseParams c = coarse_params(q, k, nullptr, n, main, options.scale);
    c.count = main == 0 ? 0 : static_cast<int>(budget(options.density, main));
    auto* sharpness = device_.template allocate<float>(std::int64_t{heads_} * n);
    auto* on_context = device_.template allocate<float>(std::int64_t{heads_} * main * (n - main) + 1);
    c.sharpness = sharpness;
    c.on_context = on_context;
    device_.template run<Coarse>(c, n, heads_);
    device_.template run<Rank>(
        RankParams{on_context, sharpness, n, main, static_cast<int>(plan.context.count),
                   static_cast<int>(plan.sharp.count), plan.context.blocks, plan.sharp.blocks,
                   plan.diffuse.blocks},
        2, heads_);
    if (plan.diffuse.count == 0) return;
    const KeyStatistics s = kept_statistics(grid, plan);
    SelectParams p{};
    p.query_mean = q;
    p.key_mean = s.key_mean;
    p.row_blocks = plan.diffuse.blocks;
    p.log2_weight = s.log2_weight;
    p.query_blocks = n;
    p.rows = static_cast<int>(plan.diffuse.count);
    p.n = s.n;
    p.scale = 1.0f;
    select(p, plan.exact);
  }

  void isa(const IsaOptions& options, const PlanLists& plan, const Gate& gate) {
    const IsaGrid grid{options.main_length, o_.q.tokens, options.padded_tail};
    const Blocks cut = coarse_blocks(grid);
    AttendParams p = attend_params(cut, kept_blocks(grid, plan), options.scale);
    if (gate.data) {
      const float *q = pool(o_.q, cut), *k = pool(o_.k, cut), *v = pool(o_.v, cut);
      CoarseParams c = coarse_params(q, k, v, cut.blocks(), 0, options.scale);
      c.out = device_.template allocate<float>(std::int64_t{heads_} * cut.blocks() * p.e_pitch);
      device_.template run<Coarse>(c, cut.blocks(), heads_);
      p.coarse = c.out;
      p.gate = gate.data;
      p.gate_batch = gate.batch_stride;
      p.gate_head = gate.head_stride;
      p.gate_token = gate.token_stride;
    }
    p.rows = cut.blocks();
    p.all_rows = static_cast<int>(plan.sharp.count);
    p.all_blocks = plan.sharp.blocks;
    p.some_blocks = plan.diffuse.blocks;
    p.selected = plan.exact.blocks;
    p.count = static_cast<int>(plan.exact.count);
    if (plan.diffuse.count > 0) {
      const KeyStatistics s = kept_statistics(grid, plan);
      auto* mask = device_.template allocate<std::uint32_t>(std::int64_t{heads_} * plan.diffuse.count *
                                                            cuda::ceil_div(s.n, 32));
      make_mask(plan.exact, static_cast<int>(plan.diffuse.count), s.n, mask);
      p.mask = mask;
      use(s, p);
    }
    attend(p, tile_);
  }

 private:
  static constexpr std::int64_t kMost = std::int64_t{1} << 30;

  struct KeyStatistics {
    int n = 0, spread_parts = 1;
    float *key_mean = nullptr, *value_mean = nullptr, *log2_weight = nullptr, *spread = nullptr;
    void *key_mean16 = nullptr, *value_mean16 = nullptr, *moment16 = nullptr;
    float *moment = nullptr, *moments = nullptr;
  };

  int d_pitch() const { return cuda::round_up(d_, 4); }
  int e_pitch() const { return cuda::round_up(e_, 4); }
  double scale_of(const std::optional<double>& scale) const {
    return scale.value_or(1.0 / std::sqrt(static_cast<double>(d_)));
  }
  static Strided strided(const Rows& x) { return {x.data, x.batch_stride, x.head_stride, x.token_stride}; }
  static Blocks regular(const Rows& x, const PisaOptions& options) {
    return Blocks::regular(static_cast<int>(x.tokens), static_cast<int>(options.block_size));
  }
  static Blocks coarse_blocks(const IsaGrid& grid) {
    return {static_cast<int>(grid.tokens), kBlock, static_cast<int>(grid.padded ? grid.tokens : grid.main)};
  }
  static Blocks kept_blocks(const IsaGrid& grid, const PlanLists& plan) {
    return {static_cast<int>(grid.tokens),        kBlock,      static_cast<int>(grid.main),
            static_cast<int>(plan.context.count), grid.padded, plan.context.blocks};
  }

  /// Calls function(a value of the element type).
  template <typename Function>
  void with_element(Function&& function) const {
    switch (o_.q.element) {
      case Element::Float32: return function(float{});
      case Element::Float16: return function(Half{});
      case Element::BFloat16: return function(BFloat16{});
    }
  }
  /// Same for the types of matrix units.
  template <typename Function>
  void with_half(Function&& function) const {
    if (o_.q.element == Element::Float16)
      function(Half{});
    else
      function(BFloat16{});
  }

  float* pool(const Rows& x, const Blocks& cut) {
    const int size = static_cast<int>(x.size), pitch = cuda::round_up(size, 4);
    auto* mean = device_.template allocate<float>(std::int64_t{heads_} * cut.blocks() * pitch);
    const PoolParams p{strided(x), static_cast<int>(o_.heads), size, pitch, cut, mean};
    with_element([&](auto t) { device_.template run<Pool<decltype(t)>>(p, cut.blocks(), heads_); });
    return mean;
  }

  /// Memory for the means of n blocks, and what every statistics kernel is given.
  StatisticsParams statistics_params(const Blocks& keys, KeyStatistics& s) {
    s.n = keys.blocks();
    const std::int64_t rows = std::int64_t{heads_} * s.n;
    StatisticsParams p{};
    p.k = strided(o_.k);
    p.v = strided(o_.v);
    p.heads = static_cast<int>(o_.heads);
    p.d = d_;
    p.e = e_;
    p.blocks = keys;
    // At most 32 partial sums per head; a function of the size alone, and so of the result.
    p.run = std::max(16, cuda::ceil_div(s.n, 32));
    p.d_pitch = d_pitch();
    p.e_pitch = e_pitch();
    p.key_mean = s.key_mean = device_.template allocate<float>(rows * p.d_pitch);
    p.value_mean = s.value_mean = device_.template allocate<float>(rows * p.e_pitch);
    p.log2_weight = s.log2_weight = device_.template allocate<float>(rows);
    p.tile = tile_;
    if (tile_) {
      p.key_mean16 = s.key_mean16 = device_.template allocate<Half>(rows * tile_);
      p.value_mean16 = s.value_mean16 = device_.template allocate<Half>(rows * tile_);
    }
    p.moment_tiles = 1;
    return p;
  }

  KeyStatistics kept_statistics(const IsaGrid& grid, const PlanLists& plan) {
    KeyStatistics s;
    const StatisticsParams p = statistics_params(kept_blocks(grid, plan), s);
    with_element([&](auto t) { device_.template run<Statistics<decltype(t)>>(p, s.n, heads_); });
    return s;
  }

  KeyStatistics pisa_statistics(const PisaOptions& options, const Blocks& keys, bool select, bool shared,
                                bool own) {
    KeyStatistics s;
    StatisticsParams p = statistics_params(keys, s);
    p.bias = !select                                           ? Bias::None
             : options.selection == BlockSelection::Covariance ? Bias::Covariance
             : options.selection == BlockSelection::Variance   ? Bias::Variance
                                                               : Bias::None;
    const bool moments = shared || own || p.bias == Bias::Covariance;
    const bool one_pass = moments && tile_ && p.bias != Bias::Variance;
    const int runs = cuda::ceil_div(s.n, p.run);
    const std::int64_t size = std::int64_t{d_} * p.e_pitch;
    if (moments && !one_pass) p.moment_tiles = s.spread_parts = cuda::ceil_div(d_, 16);
    if (p.bias == Bias::Variance) s.spread_parts = 1;
    if (p.bias != Bias::None)
      p.spread = s.spread = device_.template allocate<float>(std::int64_t{heads_} * s.n * s.spread_parts);
    if (moments) p.run_moment = device_.template allocate<float>(heads_ * runs * size);
    if (own) p.moments = s.moments = device_.template allocate<float>(std::int64_t{heads_} * s.n * size);
    if (one_pass) {
      with_half([&](auto t) {
        if (tile_ == 64)
          device_.template run<StatisticsMma<decltype(t), 64>>(p, runs, heads_);
        else
          device_.template run<StatisticsMma<decltype(t), 128>>(p, runs, heads_);
      });
    } else {
      with_element([&](auto t) {
        device_.template run<Statistics<decltype(t)>>(p, s.n, heads_);
        if (moments)
          device_.template run<Moments<decltype(t)>>(p, std::int64_t{runs} * p.moment_tiles, heads_);
      });
    }
    if (shared) sum_moments(options, p, runs, s);
    return s;
  }

  void sum_moments(const PisaOptions& options, const StatisticsParams& of, int runs, KeyStatistics& s) {
    s.moment = device_.template allocate<float>(std::int64_t{heads_} * d_ * of.e_pitch);
    if (tile_) s.moment16 = device_.template allocate<Half>(std::int64_t{heads_} * tile_ * tile_);
    const auto factor =
        static_cast<float>(std::abs(scale_of(options.scale)) / static_cast<double>(o_.k.tokens));
    const MomentSumParams p{of.run_moment, runs, d_, e_, of.e_pitch, tile_, factor, s.moment, s.moment16};
    const std::int64_t elements = std::int64_t{std::max(d_, tile_)} * std::max(of.e_pitch, tile_);
    with_element(
        [&](auto t) { device_.template run<MomentSum<decltype(t)>>(p, (elements + 255) / 256, heads_); });
  }

  void select_pisa(const PisaOptions& options, const Blocks& queries, const Blocks& keys, BlockList selected,
                   const KeyStatistics& s, std::uint32_t* mask) {
    SelectParams p{};
    p.query_mean = pool(o_.q, queries);
    p.key_mean = s.key_mean;
    p.spread = s.spread;
    p.query_blocks = p.rows = queries.blocks();
    p.n = keys.blocks();
    p.spread_parts = s.spread_parts;
    p.scale = static_cast<float>(scale_of(options.scale));
    p.bias = options.selection == BlockSelection::Covariance ? Bias::Covariance
             : options.selection == BlockSelection::Variance ? Bias::Variance
                                                             : Bias::None;
    GLINT_CHECK(options.forced_blocks.size() <= SelectParams::kForced, InvalidArgument,
                "forced_blocks: expected at most {} on a GPU, got {}", int{SelectParams::kForced},
                options.forced_blocks.size());
    for (std::int64_t j : options.forced_blocks)
      p.forced[p.forced_count++] = static_cast<int>(j < 0 ? j + p.n : j);
    p.mask = mask;
    select(p, selected);
  }

  /// Scores of a row lie in shared memory, four rows to a thread block where they fit into 48 KB.
  void select(SelectParams& p, BlockList selected) {
    p.d_pitch = d_pitch();
    p.count = static_cast<int>(selected.count);
    p.selected = selected.blocks;
    if (4 * (p.d_pitch + p.n + 256) * 4 <= 48 * 1024)
      device_.template run<Select<4>>(p, cuda::ceil_div(p.rows, 4), heads_);
    else
      device_.template run<Select<1>>(p, p.rows, heads_);
  }

  void make_mask(BlockList selected, int rows, int n, std::uint32_t* mask) {
    device_.template run<MaskOfList>(
        MaskParams{selected.blocks, rows, n, static_cast<int>(selected.count), mask}, rows, heads_);
  }

  CoarseParams coarse_params(const float* q, const float* k, const float* v, int n, int main,
                             const std::optional<double>& scale) const {
    CoarseParams c{};
    c.query_mean = q;
    c.key_mean = k;
    c.value_mean = v;
    c.n = n;
    c.main = main;
    c.d_pitch = d_pitch();
    c.e_pitch = e_pitch();
    c.scale = static_cast<float>(scale_of(scale));
    return c;
  }

  AttendParams attend_params(const Blocks& queries, const Blocks& keys,
                             const std::optional<double>& given) const {
    const double scale = scale_of(given);
    AttendParams p{};
    p.q = strided(o_.q);
    p.k = strided(o_.k);
    p.v = strided(o_.v);
    p.out = strided(o_.out);
    p.heads = static_cast<int>(o_.heads);
    p.d = d_;
    p.e = e_;
    p.queries = queries;
    p.keys = keys;
    p.d_pitch = d_pitch();
    p.e_pitch = e_pitch();
    p.tile = tile_;
    p.rate = static_cast<float>(std::abs(scale) * 1.4426950408889634);
    p.sign = p.rate == 0.0f ? 0 : scale < 0 ? -1 : 1;
    if (p.sign == 0) p.rate = 1.0f;
    p.moments_factor = static_cast<float>(std::abs(scale));
    return p;
  }

  static void use(const KeyStatistics& s, AttendParams& p) {
    p.key_mean = s.key_mean;
    p.value_mean = s.value_mean;
    p.log2_weight = s.log2_weight;
    p.key_mean16 = s.key_mean16;
    p.value_mean16 = s.value_mean16;
    p.moment = s.moment;
    p.moment16 = s.moment16;
    p.moments = s.moments;
  }

  void attend(const AttendParams& p, int tile) {
    if (tile) {
      with_half([&](auto t) {
        using T = decltype(t);
        if (tile == 64)
          device_.template run<typename AttendTuned<T, 64>::Kernel>(p, p.rows, heads_);
        else
          device_.template run<typename AttendTuned<T, 128>::Kernel>(p, p.rows, heads_);
      });
      return;
    }
    const std::int64_t x = std::int64_t{p.rows} * cuda::ceil_div(p.queries.size, kPlainRows);
    with_element([&](auto t) {
      using T = decltype(t);
      if (e_ <= 64)
        device_.template run<AttendPlain<T, 64>>(p, x, heads_);
      else if (e_ <= 128)
        device_.template run<AttendPlain<T, 128>>(p, x, heads_);
      else
        device_.template run<AttendPlain<T, 256>>(p, x, heads_);
    });
  }

  Device& device_;
  const Operands& o_;
  int heads_, d_, e_, tile_;
};

}  // namespace glint::ops::cuda
