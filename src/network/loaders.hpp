// One loader per backend, each in its own file because its engine's headers compile slowly. To add a backend,
// write such a file, declare its loader here, and add an enumerator in backend.hpp and a row in network.cpp.
#pragma once

#include "io/hashed_file.hpp"

#include <glint/core/tensor.hpp>
#include <glint/network/network.hpp>

#include <ATen/core/LegacyTypeDispatch.h>

#include <memory>
#include <optional>
#include <string>

namespace glint::detail {

/// LoadOptions with device and dtype parsed.
struct ParsedLoadOptions {
  at::Device device;
  std::optional<at::ScalarType> dtype;  ///< converts weights to this dtype; unset = keep as stored
  bool gradients = false;
  bool attention = true;
  bool pack = true;
};

/// A network's file: loaders read it through this object and never open the path again, so that what was
/// verified is what runs.
using ModelFile = std::shared_ptr<const HashedFile>;

std::shared_ptr<const Network> load_torchscript(const ModelFile& file, const ParsedLoadOptions& options);
std::shared_ptr<const Network> load_exported_program(const ModelFile& file, const ParsedLoadOptions& options);
std::shared_ptr<const Network> load_aoti(const ModelFile& file, const ParsedLoadOptions& options);
std::shared_ptr<const Network> load_safetensors(const ModelFile& file, const ParsedLoadOptions& options);

/// Checks everything that load_network can tell without the file.   Errors: as load_network.
void check_load(const std::string& name, Backend backend, const LoadOptions& options);

/// As glint::load_network, for a file that has been read.
std::shared_ptr<const Network> load_network(const ModelFile& file, Backend backend,
                                            const LoadOptions& options);

/// Returns the dtype called `name` (float32, float16, bfloat16, float64).   Errors: InvalidArgument.
at::ScalarType parse_dtype(const std::string& name);

/// Returns the device called `name` (cpu, cuda, cuda:N).
/// Errors: InvalidArgument; UnsupportedDevice if absent.
at::Device parse_device(const std::string& name);

/// Disables autograd at inference-mode speed. Not c10::InferenceMode, whose output tensors must not be
/// modified in place outside it; ours go to host-written strategies.
using WithoutAutograd = at::AutoDispatchBelowADInplaceOrView;

}  // namespace glint::detail
