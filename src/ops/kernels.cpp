// The kernels for every instruction set this compiler supports, and the dispatch between them. See
// kernels.hpp.
#include "ops/kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/kernels.cpp"
// AVX2, AVX-512 and the baseline are enough; anything in between is rare.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#include <hwy/foreach_target.h>
//
#include "ops/attend-inl.hpp"
#include "ops/statistics-inl.hpp"

#if HWY_ONCE
namespace glint::ops {

HWY_EXPORT(attend);
HWY_EXPORT(statistics);
HWY_EXPORT(scores);
HWY_EXPORT(load_rows);
HWY_EXPORT(mean_of_rows);
HWY_EXPORT(target_name);

void attend(const Tile& tile, float* workspace) { HWY_DYNAMIC_DISPATCH(attend)(tile, workspace); }

void statistics(const Statistics& task, float* workspace) {
  HWY_DYNAMIC_DISPATCH(statistics)(task, workspace);
}

void scores(const float* q, int64_t queries, const float* k, int64_t keys, int64_t d, float scale, float* out,
            float* workspace) {
  HWY_DYNAMIC_DISPATCH(scores)(q, queries, k, keys, d, scale, out, workspace);
}

void load_rows(const HeadRows& from, int64_t rows, int64_t columns, float* to, int64_t to_stride) {
  HWY_DYNAMIC_DISPATCH(load_rows)(from, rows, columns, to, to_stride);
}

void mean_of_rows(const HeadRows& from, int64_t rows, int64_t columns, float* to, float* workspace) {
  HWY_DYNAMIC_DISPATCH(mean_of_rows)(from, rows, columns, to, workspace);
}

const char* kernel_target() { return HWY_DYNAMIC_DISPATCH(target_name)(); }

void limit_vectors(int64_t bytes) {
  hwy::DisableTargets((bytes < 64 ? HWY_AVX3 | HWY_AVX3_DL : 0) | (bytes < 32 ? HWY_AVX2 : 0) |
                      (bytes < 16 ? HWY_SSE4 | HWY_SSSE3 : 0));
}

int64_t attend_workspace(int64_t queries, int64_t d, int64_t e) {
  const int64_t width = round_up(queries, kPad);
  return width * (d + std::max(kChunk, d) + e + 5) + queries * std::max(d, e);
}

int64_t statistics_workspace(int64_t block, int64_t d, int64_t e) {
  return block * (d + round_up(e, kPad)) + kPad;
}

int64_t scores_workspace(int64_t keys, int64_t d) { return kScoreTile * (d + keys + 1) + kPad; }

}  // namespace glint::ops
#endif
