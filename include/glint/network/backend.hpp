// The engines that run a stored network.
#pragma once

#include <glint/core/enum_names.hpp>
#include <glint/export.hpp>

#include <array>
#include <string_view>

namespace glint {

enum class Backend {
  TorchScript,      ///< torch::jit archive
  ExportedProgram,  ///< torch.export archive, interpreted
  AotInductor,      ///< compiled package, tied to a hardware architecture
  Safetensors       ///< weights of an architecture built into the library: npnet, core2
};
template <>
struct EnumNames<Backend> {
  static constexpr std::array<std::string_view, 4> values{"torchscript", "pt2", "aoti", "safetensors"};
};

/// What a backend's networks can do. Said in src/network/backend.cpp.
struct BackendFacts {
  bool gradients = false;     ///< outputs are differentiable with respect to inputs
  bool exchangeable = false;  ///< Network::with_weights works unless the file was frozen
  bool converts = false;      ///< can convert weights to another dtype
  bool built_in = false;      ///< the file holds only weights of a built-in architecture
  bool operators = false;     ///< made of torch operators; another torch version may round differently
  bool compiled = false;      ///< machine code, which only the torch that compiled it can run
};
GLINT_API const BackendFacts& facts_of(Backend backend);

}  // namespace glint
