#include "ops/cuda/attend_mma.cuh"
#include "ops/cuda/launch.cuh"

namespace glint::ops::cuda {
template const char* launch<AttendTuned<Half, 64>::Kernel>(const AttendParams&, unsigned, unsigned, void*);
}
