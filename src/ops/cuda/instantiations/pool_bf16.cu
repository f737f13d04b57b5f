#include "ops/cuda/launch.cuh"
#include "ops/cuda/pool.cuh"

namespace glint::ops::cuda {
template const char* launch<Pool<BFloat16>>(const PoolParams&, unsigned, unsigned, void*);
template const char* launch<Statistics<BFloat16>>(const StatisticsParams&, unsigned, unsigned, void*);
template const char* launch<Moments<BFloat16>>(const StatisticsParams&, unsigned, unsigned, void*);
template const char* launch<MomentSum<BFloat16>>(const MomentSumParams&, unsigned, unsigned, void*);
}  // namespace glint::ops::cuda
