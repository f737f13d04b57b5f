#include "ops/cuda/launch.cuh"
#include "ops/cuda/pool.cuh"

namespace glint::ops::cuda {
template const char* launch<Pool<float>>(const PoolParams&, unsigned, unsigned, void*);
template const char* launch<Statistics<float>>(const StatisticsParams&, unsigned, unsigned, void*);
template const char* launch<Moments<float>>(const StatisticsParams&, unsigned, unsigned, void*);
template const char* launch<MomentSum<float>>(const MomentSumParams&, unsigned, unsigned, void*);
}  // namespace glint::ops::cuda
