#include "ops/cuda/launch.cuh"
#include "ops/cuda/statistics_mma.cuh"

namespace glint::ops::cuda {
template const char* launch<StatisticsMma<Half, 64>>(const StatisticsParams&, unsigned, unsigned, void*);
}
