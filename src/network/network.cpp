#include "network/host_state.hpp"
#include "network/loaders.hpp"

#include <glint/core/error.hpp>
#include <glint/network/network.hpp>
#include <glint/ops/attention_scope.hpp>

#include <ATen/Context.h>

namespace glint {
namespace {

/// A backend's loader; what its networks can do is in backend.cpp.
struct Engine {
  Backend backend;
  std::shared_ptr<const Network> (*load)(const detail::ModelFile&, const detail::ParsedLoadOptions&);
};
constexpr std::array kEngines{
    Engine{Backend::TorchScript, detail::load_torchscript},
    Engine{Backend::ExportedProgram, detail::load_exported_program},
    Engine{Backend::AotInductor, detail::load_aoti},
    Engine{Backend::Safetensors, detail::load_safetensors},
};
static_assert(kEngines.size() == EnumNames<Backend>::values.size());

const Engine& engine_of(Backend backend) {
  for (const Engine& engine : kEngines)
    if (engine.backend == backend) return engine;
  fail(ErrorCode::InvalidArgument, "backend: there is none of number {}", static_cast<int>(backend));
}

}  // namespace

namespace detail {

at::ScalarType parse_dtype(const std::string& name) {
  if (name == "float32") return at::kFloat;
  if (name == "float16") return at::kHalf;
  if (name == "bfloat16") return at::kBFloat16;
  if (name == "float64") return at::kDouble;
  fail(ErrorCode::InvalidArgument, "dtype: expected float32, float16, bfloat16 or float64, got '{}'", name);
}

at::Device parse_device(const std::string& name) {
  if (name == "cpu") return at::kCPU;
  constexpr std::string_view kCuda = "cuda", kNumbered = "cuda:";
  const std::string digits = name.starts_with(kNumbered) ? name.substr(kNumbered.size()) : "";
  const bool numbered =
      !digits.empty() && digits.size() <= 3 && digits.find_first_not_of("0123456789") == std::string::npos;
  GLINT_CHECK(name == kCuda || numbered, InvalidArgument, "device: expected cpu, cuda or cuda:N, got '{}'",
              name);
  const int index = numbered ? std::stoi(digits) : 0;
  GLINT_CHECK(at::hasCUDA(), UnsupportedDevice, "device: '{}' asked for, but there is no usable CUDA device",
              name);
  GLINT_CHECK(index < static_cast<int>(at::detail::getCUDAHooks().deviceCount()), UnsupportedDevice,
              "device: '{}' asked for, but there are only {} CUDA devices", name,
              at::detail::getCUDAHooks().deviceCount());
  return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(index));
}

}  // namespace detail

void WeightBytes::add(const at::Tensor& tensor) {
  if (!tensor.defined() || tensor.layout() != at::kStrided) return;
  add(tensor.storage().unsafeGetStorageImpl(), static_cast<int64_t>(tensor.storage().nbytes()));
}

std::vector<LayerKeys> Network::text_keys(std::vector<at::Tensor>, size_t) const {
  fail(ErrorCode::Internal, "text_keys: only TorchScript networks can run the text apart");
}

std::shared_ptr<const Network> Network::with(std::string_view setting, std::string_view) const {
  fail(ErrorCode::InvalidArgument, "{}: this network has no such setting", setting);
}

const Weights& Network::weights() const {
  static const Weights none;
  return none;
}

std::shared_ptr<const Network> Network::with_weights(const Weights&) const {
  fail(ErrorCode::InvalidArgument, "weights: this network's cannot be exchanged");
}

void detail::check_load(const std::string& name, Backend backend, const LoadOptions& options) {
  GLINT_CHECK(options.trust == Trust::Code || facts_of(backend).built_in, InvalidArgument,
              "trust: {} is code ({}), and trust is {}", name, enum_name(backend), enum_name(options.trust));
  GLINT_CHECK(!options.gradients || facts_of(backend).gradients, InvalidArgument,
              "gradients: a {} component has none; only torchscript components are differentiable",
              enum_name(backend));
  parse_device(options.device);
  if (options.dtype != kStored && !options.dtype.empty()) parse_dtype(options.dtype);
}

std::shared_ptr<const Network> load_network(const std::filesystem::path& path, Backend backend,
                                            const LoadOptions& options) {
  std::error_code ignored;
  GLINT_CHECK(std::filesystem::exists(path, ignored), NotFound, "{}: no such file", path.string());
  GLINT_CHECK(std::filesystem::is_regular_file(path, ignored), BadModel, "{}: expected a file",
              path.string());
  detail::check_load(path.string(), backend, options);
  return detail::load_network(std::make_shared<const detail::HashedFile>(path), backend, options);
}

std::shared_ptr<const Network> detail::load_network(const ModelFile& file, Backend backend,
                                                    const LoadOptions& options) {
  check_load(file->name(), backend, options);
  ParsedLoadOptions understood{parse_device(options.device), at::kFloat, options.gradients, options.attention,
                               options.pack};
  if (options.dtype == kStored)
    understood.dtype.reset();
  else if (!options.dtype.empty())
    understood.dtype = parse_dtype(options.dtype);
  // References a symbol of libglint_ops. Otherwise the linker drops it from programs that only load networks,
  // and the operators that rewritten networks call are never registered.
  static_cast<void>(AttentionScope::current());
  return torch_boundary(ErrorCode::BadModel, file->name(),
                        [&] { return engine_of(backend).load(file, understood); });
}

}  // namespace glint
