// Rewrites exported networks at load time so that every attention looks its policy up at run time.
#pragma once

#include <glint/export.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace torch::jit {
struct Module;
}

namespace glint {

/// Replaces every aten::scaled_dot_product_attention of a TorchScript module by glint::attention and returns
/// their number. Without a policy in force, the module's results stay bit-identical. Layers are numbered from
/// 0 in the order `forward` runs them, cross attention included; a layer inside a loop has one number for all
/// iterations.
///
/// Works on frozen modules and on ordinary ones, whose calls are inlined into `forward` first, so a submodule
/// called twice makes two layers. Calls resolved only at run time (methods of module interfaces) are
/// rewritten in place and numbered last. Call this before the module first runs, which fixes its execution
/// plan.
/// Cost:    one pass over the graphs; none at run time.
/// Errors:  BadModel for a call with arguments glint::attention lacks (an archive from a later torch).
GLINT_API int64_t rewrite_attention(torch::jit::Module& module);

/// A torch.export program as JSON text.
struct RewrittenProgram {
  std::string json;
  int64_t layers = 0;
};

/// Same, for the graph in an exported program's models/model.json. Error messages start with `where`.
/// Errors:  BadModel if the text is not such a graph.
GLINT_API RewrittenProgram rewrite_attention(const std::string& program, const std::string& where);

}  // namespace glint
