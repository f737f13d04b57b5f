#include "ops/cuda/launch.cuh"
#include "ops/cuda/pool.cuh"

namespace glint::ops::cuda {
template const char* launch<Pool<Half>>(const PoolParams&, unsigned, unsigned, void*);
template const char* launch<Statistics<Half>>(const StatisticsParams&, unsigned, unsigned, void*);
template const char* launch<Moments<Half>>(const StatisticsParams&, unsigned, unsigned, void*);
template const char* launch<MomentSum<Half>>(const MomentSumParams&, unsigned, unsigned, void*);
}  // namespace glint::ops::cuda
