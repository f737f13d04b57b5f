#include "ops/cuda/attend_plain.cuh"
#include "ops/cuda/launch.cuh"

namespace glint::ops::cuda {
template const char* launch<AttendPlain<float, 64>>(const AttendParams&, unsigned, unsigned, void*);
template const char* launch<AttendPlain<float, 128>>(const AttendParams&, unsigned, unsigned, void*);
template const char* launch<AttendPlain<float, 256>>(const AttendParams&, unsigned, unsigned, void*);
}  // namespace glint::ops::cuda
