#include "ops/cuda/attend_plain.cuh"
#include "ops/cuda/launch.cuh"

namespace glint::ops::cuda {
template const char* launch<AttendPlain<BFloat16, 64>>(const AttendParams&, unsigned, unsigned, void*);
template const char* launch<AttendPlain<BFloat16, 128>>(const AttendParams&, unsigned, unsigned, void*);
template const char* launch<AttendPlain<BFloat16, 256>>(const AttendParams&, unsigned, unsigned, void*);
}  // namespace glint::ops::cuda
