#include "ops/cuda/isa.cuh"
#include "ops/cuda/launch.cuh"

namespace glint::ops::cuda {
template const char* launch<Select<1>>(const SelectParams&, unsigned, unsigned, void*);
template const char* launch<Select<4>>(const SelectParams&, unsigned, unsigned, void*);
template const char* launch<MaskOfList>(const MaskParams&, unsigned, unsigned, void*);
template const char* launch<Coarse>(const CoarseParams&, unsigned, unsigned, void*);
template const char* launch<Rank>(const RankParams&, unsigned, unsigned, void*);
}  // namespace glint::ops::cuda
