// One loader per backend, each alone in its file, because the headers of its engine are slow to compile. A
// new backend is such a file, its declaration here, an enumerator in backend.hpp and a row of the table in
// network.cpp.
#pragma once

#include <glint/core/tensor.hpp>
#include <glint/network/network.hpp>

#include <ATen/core/LegacyTypeDispatch.h>

#include <optional>

namespace glint::detail {

/// LoadOptions, understood.
struct ParsedLoadOptions {
  at::Device device;
  std::optional<at::ScalarType> dtype;  ///< what weights are converted to; none: they stay as they are stored
  bool gradients = false;
  bool attention = true;
};

std::shared_ptr<const Network> load_torchscript(const std::filesystem::path& path,
                                                const ParsedLoadOptions& options);
std::shared_ptr<const Network> load_exported_program(const std::filesystem::path& path,
                                                     const ParsedLoadOptions& options);
std::shared_ptr<const Network> load_aoti(const std::filesystem::path& path, const ParsedLoadOptions& options);
std::shared_ptr<const Network> load_safetensors(const std::filesystem::path& path,
                                                const ParsedLoadOptions& options);

/// Returns the dtype called `name` (float32, float16, bfloat16, float64).   Errors: InvalidArgument.
at::ScalarType parse_dtype(const std::string& name);

/// Returns the device called `name` (cpu, cuda, cuda:N).   Errors: InvalidArgument; UnsupportedDevice if
/// absent.
at::Device parse_device(const std::string& name);

/// Runs what follows without autograd, at inference mode's speed. Not c10::InferenceMode: its outputs are
/// special tensors that may not be changed in place outside of it, and ours go to strategies that a host
/// wrote.
using WithoutAutograd = at::AutoDispatchBelowADInplaceOrView;

}  // namespace glint::detail
