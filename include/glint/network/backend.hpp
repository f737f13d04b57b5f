// What runs a stored network.
#pragma once

#include <glint/core/enum_names.hpp>
#include <glint/export.hpp>

#include <array>
#include <string_view>

namespace glint {

enum class Backend {
  TorchScript,      ///< torch::jit archive
  ExportedProgram,  ///< torch.export archive, interpreted
  AotInductor,      ///< compiled package, tied to an architecture
  Safetensors       ///< weights of an architecture that is part of the library: npnet, core2
};
template <>
struct EnumNames<Backend> {
  static constexpr std::array<std::string_view, 4> values{"torchscript", "pt2", "aoti", "safetensors"};
};

/// What a backend's networks can do. Stated beside the loaders, in src/network/network.cpp.
struct BackendFacts {
  bool gradients = false;     ///< outputs are differentiable with respect to inputs
  bool exchangeable = false;  ///< Network::with_weights works, unless the file was frozen
  bool converts = false;      ///< weights can be converted to another dtype
  bool built_in = false;      ///< the file holds weights alone; their architecture is part of the library
  bool operators = false;     ///< a program of torch's operators: another torch may round differently
  bool compiled = false;      ///< machine code: only the torch that compiled it runs it
};
GLINT_API const BackendFacts& facts_of(Backend backend);

}  // namespace glint
