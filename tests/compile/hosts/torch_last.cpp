// The headers before all of TorchScript's.
#include <glint/glint.hpp>

#include <torch/script.h>

at::Tensor used_before(const at::Tensor& a) { return glint::per_sample::norm(a); }
