// ISA's decisions: coarse attention between block means, and two rankings.
#pragma once

#include "ops/cuda/selection.cuh"

namespace glint::ops::cuda {

/// Grid: x = row, y = head. Shared: the row's weights, ordered copies of those on main blocks, histograms.
struct Coarse {
  using Params = CoarseParams;
  static constexpr int kThreads = 128, kMinBlocks = 2;
  static int shared_bytes(const Params& p) { return (p.n + p.main + 256 + 32) * 4; }

  GLINT_DEVICE void operator()(const Params& p) const {
    const int row = block_x(), h = block_y();
    const std::int64_t head = static_cast<std::int64_t>(h) * p.n;
    const std::uint32_t weights = 0, keys = p.n * 4, bins = keys + p.main * 4, sums = bins + 1024;
    softmax(p, head, row, weights, sums);
    for (int j = thread_index(); j < p.main; j += kThreads)
      store_shared(keys + j * 4, ordered(load_shared<float>(weights + j * 4)));
    sync_block();
    if (p.sharpness && thread_index() < 32) {
      const float sum = p.main > 0 ? sum_of_largest(p, weights, keys, bins) : 0.0f;
      if (thread_index() == 0) store(p.sharpness + head + row, sum);
    }
    const int context = p.n - p.main;
    for (int j = thread_index(); p.on_context && row < p.main && j < context; j += kThreads)
      store(p.on_context + (static_cast<std::int64_t>(h) * p.main + row) * context + j,
            load_shared<float>(weights + (p.main + j) * 4));
    for (int c = thread_index(); p.out && c < p.e_pitch; c += kThreads) {
      float sum = 0.0f;
      for (int j = 0; j < p.n; ++j)
        sum += load_shared<float>(weights + j * 4) * load(p.value_mean + (head + j) * p.e_pitch + c);
      store(p.out + (head + row) * p.e_pitch + c, sum);
    }
  }

 private:
  GLINT_DEVICE static void softmax(const Params& p, std::int64_t head, int row, std::uint32_t weights,
                                   std::uint32_t sums) {
    const float* q = p.query_mean + (head + row) * p.d_pitch;
    float max = -INFINITY;
    for (int j = thread_index(); j < p.n; j += kThreads) {
      const float* k = p.key_mean + (head + j) * p.d_pitch;
      float sum = 0.0f;
      for (int i = 0; i < p.d_pitch; i += 4) {
        const Quad a = load(reinterpret_cast<const Quad*>(q + i)),
                   b = load(reinterpret_cast<const Quad*>(k + i));
        for (int c = 0; c < 4; ++c) sum += a.x[c] * b.x[c];
      }
      sum *= p.scale;
      store_shared(weights + j * 4, sum);
      max = fmaxf(max, sum);
    }
    max = warp_max(max);
    if (thread_index() % 32 == 0) store_shared(sums + (16 + thread_index() / 32) * 4, max);
    sync_block();
    for (int w = 0; w < kThreads / 32; ++w) max = fmaxf(max, load_shared<float>(sums + (16 + w) * 4));
    float sum = 0.0f;
    for (int j = thread_index(); j < p.n; j += kThreads) {
      const float x = expf(load_shared<float>(weights + j * 4) - max);
      store_shared(weights + j * 4, x);
      sum += x;
    }
    sum = block_sum<kThreads>(sum, sums);
    for (int j = thread_index(); j < p.n; j += kThreads)
      store_shared(weights + j * 4, load_shared<float>(weights + j * 4) / sum);
    sync_block();
  }

  GLINT_DEVICE static float sum_of_largest(const Params& p, std::uint32_t weights, std::uint32_t keys,
                                           std::uint32_t bins) {
    const Cut cut = find_cut(keys, p.main, p.count, bins);
    float sum = 0.0f;
    int tied = -1;
    for (int j = thread_index(); j < p.main; j += 32) {
      const auto key = load_shared<std::uint32_t>(keys + j * 4);
      if (key > cut.least) sum += load_shared<float>(weights + j * 4);
      if (key == cut.least) tied = j;
    }
    sum = warp_sum(sum);
    // All ties have the same weight: any lane that holds one may say it.
    const std::uint32_t holders = ballot(tied >= 0);
    int owner = 0;
    while (!(holders >> owner & 1)) ++owner;
    const float weight = tied >= 0 ? load_shared<float>(weights + tied * 4) : 0.0f;
    return sum + static_cast<float>(cut.ties) * shuffle(weight, owner);
  }
};

/// Grid: x = 0 context blocks, 1 query blocks; y = head. Every thread counts what comes before its own.
struct Rank {
  using Params = RankParams;
  static constexpr int kThreads = 256, kMinBlocks = 1;
  static int shared_bytes(const Params& p) { return p.n * 4; }

  GLINT_DEVICE void operator()(const Params& p) const {
    const int h = block_y();
    if (block_x() == 0)
      rank_context(p, h);
    else
      rank_queries(p, h);
  }

 private:
  GLINT_DEVICE static int place(int n, int i) {
    const auto mine = load_shared<std::uint32_t>(i * 4);
    int before = 0;
    for (int j = 0; j < n; ++j) {
      const auto other = load_shared<std::uint32_t>(j * 4);
      before += other > mine || (other == mine && j < i);
    }
    return before;
  }

  GLINT_DEVICE static void rank_context(const Params& p, int h) {
    const int context = p.n - p.main;
    for (int j = thread_index(); j < context; j += kThreads) {
      const float* column = p.on_context + static_cast<std::int64_t>(h) * p.main * context + j;
      float sum = 0.0f;
      for (int i = 0; i < p.main; ++i) sum += load(column + static_cast<std::int64_t>(i) * context);
      store_shared(j * 4, ordered(sum));
    }
    sync_block();
    for (int j = thread_index(); j < context; j += kThreads) {
      const int before = place(context, j);
      if (before < p.kept) store(p.context + static_cast<std::int64_t>(h) * p.kept + before, j);
    }
  }

  GLINT_DEVICE static void rank_queries(const Params& p, int h) {
    for (int i = thread_index(); i < p.n; i += kThreads)
      store_shared(i * 4, ordered(load(p.sharpness + static_cast<std::int64_t>(h) * p.n + i)));
    sync_block();
    const int diffuse = p.n - p.sharp;
    for (int i = thread_index(); i < p.n; i += kThreads) {
      const int before = place(p.n, i);
      if (before < p.sharp)
        store(p.sharp_blocks + static_cast<std::int64_t>(h) * p.sharp + before, i);
      else
        store(p.diffuse_blocks + static_cast<std::int64_t>(h) * diffuse + before - p.sharp, i);
    }
  }
};

}  // namespace glint::ops::cuda
