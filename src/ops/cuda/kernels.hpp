// The kernels' names. Their bodies are in the .cuh files, which only nvcc and the emulator's tests read.
#pragma once

#include "ops/cuda/params.hpp"

namespace glint::ops::cuda {

template <typename T>
struct Pool;
template <typename T>
struct Statistics;
template <typename T>
struct Moments;
template <typename T>
struct MomentSum;
template <typename T, int kD>
struct StatisticsMma;
template <int kRows>
struct Select;
struct MaskOfList;
struct Coarse;
struct Rank;
template <typename T, int kE>
struct AttendPlain;
template <typename T, int kD, int kKeyStages, int kValueStages>
struct AttendMma;

/// Depth of the rings that fits two thread blocks into 100 KB of shared memory, which every GPU from sm_80 on
/// has.
template <typename T, int kD>
struct AttendTuned;
template <typename T>
struct AttendTuned<T, 64> {
  using Kernel = AttendMma<T, 64, 3, 2>;
};
template <typename T>
struct AttendTuned<T, 128> {
  using Kernel = AttendMma<T, 128, 2, 1>;
};

}  // namespace glint::ops::cuda
