// A loaded network component of a bundle, whatever runs it: TorchScript, an exported program, a compiled
// package, or the library itself.
#pragma once

#include <glint/export.hpp>
#include <glint/fwd.hpp>
#include <glint/network/backend.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace glint {

/// LoadOptions::dtype for a network whose weights are used as they are.
inline constexpr std::string_view kStored = "stored";

/// How network components are loaded.
struct LoadOptions {
  std::string device = "cpu";  ///< cpu | cuda | cuda:N
  /// float32 | float16 | bfloat16 | float64: what weights of TorchScript and safetensors components are
  /// converted to, whatever they are stored as. Empty: what the manifest says, in load_network float32. In
  /// load_network also "stored": nothing is converted. Other backends compute in what they were exported
  /// with.
  std::string dtype = {};
  /// Keep outputs differentiable with respect to inputs wherever gradients are recorded, not only when an
  /// input asks for it (TorchScript only).
  bool gradients = false;
  /// Let an AttentionPolicy decide what attention layers do. Exported programs are rewritten through an
  /// unnamed temporary file of their size, which is gone when they are loaded.
  bool attention = true;
  /// Adapters (LoRA) by name, beside the bundle's own: safetensors files. Bundle only.
  std::map<std::string, std::filesystem::path> adapters = {};
  /// Sets of adapter scales whose weights stay in memory, see AdaptedNetwork. W2SD uses one for each of its
  /// predictors and one for the run. Bundle only.
  int adapter_sets = 3;
  /// Told what is worth knowing though nothing failed: that another torch made the bundle. Without it nothing
  /// is said. Bundle only.
  std::function<void(const std::string& message)> warn = {};
};

/// A network's weights by name, as its file has them.
using Weights = std::map<std::string, at::Tensor>;

/// A network: tensors in, tensors out.
/// Thread: `run` may be called concurrently.
class GLINT_API Network {
 public:
  virtual ~Network() = default;

  /// Returns the network's outputs, in order. Inputs must be on the network's device, of the dtypes it was
  /// made for. Outputs are ordinary tensors; without `gradients` they have no history.
  /// Errors:  Internal with the engine's message if it refuses the inputs; OutOfMemory.
  virtual std::vector<at::Tensor> run(std::vector<at::Tensor> inputs) const = 0;

  /// Returns the names of what `run` takes, in order, if the network knows them (safetensors components do);
  /// else none.
  virtual std::vector<std::string> inputs() const { return {}; }

  /// Refuses the latents of a sample, [C,H,W] or [C,F,H,W] with -1 for sizes that are open, if the network
  /// was made for others and knows it (safetensors components do).
  /// Errors:  ShapeMismatch with both shapes.
  virtual void check_latents(const std::vector<int64_t>& /*shape*/) const {}

  /// Returns the same network, of the same weights, with a setting of its architecture changed.
  /// Errors:  InvalidArgument if it has no such setting (only safetensors components have any) or not that
  ///          value of it.
  virtual std::shared_ptr<const Network> with(std::string_view setting, std::string_view value) const;

  /// Returns how many attention layers the AttentionScope of the calling thread decides on.
  virtual int64_t attention_layers() const { return 0; }

  /// Returns the weights with_weights can exchange; none for archives that were frozen, and for what is not
  /// TorchScript.
  virtual const Weights& weights() const;

  /// Returns this network with other values for some of its weights; it shares everything else with this one.
  /// Cost:    the first call takes about as long as loading did, less the reading of the file; later ones are
  ///          cheap.
  /// Errors:  InvalidArgument for a name that is not among weights(); ShapeMismatch, UnsupportedDtype for
  ///          values that are not like those they replace.
  virtual std::shared_ptr<const Network> with_weights(const Weights& changed) const;
};

/// Returns the component in `path`, ready to run. TorchScript and AOTInductor files are executable code: load
/// only files you trust, such as those whose SHA-256 a trusted manifest gives (Bundle checks it). A
/// safetensors file holds the weights of an architecture that is part of the library, npnet or core2, which
/// its metadata names.
/// Errors:  NotFound if there is no such file; BadModel if it is not what `backend` reads, was made by a
///          torch that this one cannot read, or for another architecture; UnsupportedDevice; InvalidArgument
///          for a dtype or gradients that the backend cannot give.
GLINT_API std::shared_ptr<const Network> load_network(const std::filesystem::path& path, Backend backend,
                                                      const LoadOptions& options = {});

}  // namespace glint
