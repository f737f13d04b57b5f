// Exported networks, changed when they are loaded: every attention becomes one whose policy is looked up at
// run time.
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
/// how many there are. Without a policy in force the module computes the same bits as before. Layers are
/// numbered from 0 in the order `forward` runs them, cross attention included; one inside a loop has one
/// number for all its rounds.
///
/// Works on frozen modules and on ordinary ones, whose calls are inlined into `forward` first, so that a
/// submodule that is called twice is two layers. What can only be resolved at run time (methods of module
/// interfaces) is rewritten where it is and numbered last. Call it before the module first runs: its
/// execution plan is made then.
/// Cost:    one pass over the graphs; none at run time.
/// Errors:  BadModel for a call with arguments that glint::attention does not have (an archive of a later
///          torch).
GLINT_API int64_t rewrite_attention(torch::jit::Module& module);

/// A program of torch.export, as text.
struct RewrittenProgram {
  std::string json;
  int64_t layers = 0;
};

/// The same for the graph in an exported program's models/model.json. `where` begins the messages.
/// Errors:  BadModel if the text is not such a graph.
GLINT_API RewrittenProgram rewrite_attention(const std::string& program, const std::string& where);

}  // namespace glint
