// A loaded network, whatever runs it: TorchScript, an exported program, a compiled package or the library.
#pragma once

#include <glint/export.hpp>
#include <glint/fwd.hpp>
#include <glint/network/backend.hpp>
#include <glint/ops/attention_scope.hpp>

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace glint {

/// Value of LoadOptions::dtype that leaves the weights as stored.
inline constexpr std::string_view kStored = "stored";

/// What a bundle's files may do.
enum class Trust {
  Code,  ///< run: TorchScript, exported programs and compiled packages are programs
  Data   ///< be read only: components that are code are refused, safetensors components work
};
template <>
struct EnumNames<Trust> {
  static constexpr std::array<std::string_view, 2> values{"code", "none"};
};

/// Where an adapter (LoRA) is.
struct AdapterSource {
  std::filesystem::path path;  ///< a safetensors file or a folder that PEFT wrote
  bool partial = false;        ///< leave out, with a warning, what matches nothing in the model

  AdapterSource() = default;
  template <typename Path>
  requires std::is_convertible_v<Path, std::filesystem::path> AdapterSource(Path&& file,
                                                                            bool leave_out = false)
      : path(std::forward<Path>(file)), partial(leave_out) {}
};

/// How to load network components.
struct LoadOptions {
  std::string device = "cpu";  ///< cpu | cuda | cuda:N
  /// float32 | float16 | bfloat16 | float64: converts the weights of TorchScript and safetensors components,
  /// however stored. Empty = the manifest's dtype, or float32 in load_network, which also takes "stored" for
  /// no conversion. Other backends compute in the dtype they were exported with.
  std::string dtype = {};
  /// Keep outputs differentiable with respect to inputs wherever gradients are recorded, not only for inputs
  /// that require one (TorchScript only).
  bool gradients = false;
  /// Let an AttentionPolicy control the attention layers. Rewriting an exported program needs an unnamed
  /// temporary file of its size while it loads.
  bool attention = true;
  /// Store the weights of convolutions as the CPU's kernels read them (TorchScript, float32): up
  /// to 2.5 times as fast per convolution, the same results up to rounding. Networks derived by with_weights
  /// run unpacked and keep the plain weights beside the packed ones.
  bool pack = true;
  /// Adapters (LoRA) by name, in addition to the bundle's own. Bundle only.
  std::map<std::string, AdapterSource> adapters = {};
  /// Number of adapter scale sets whose weights stay in memory, see AdaptedNetwork. W2SD uses three: one per
  /// predictor and one for the run. Bundle only.
  int adapter_sets = 3;
  /// Receives warnings, e.g. that another torch version made the bundle; empty = no warnings. Bundle only.
  std::function<void(const std::string& message)> warn = {};
  Trust trust = Trust::Code;
  /// The most bytes of weights in memory at one time; 0 = no limit. Where it would be passed, components that
  /// no call runs with are let go of first, if they are for another stage of a run (encode, sample, decode).
  /// What a run computes comes on top. Bundle only.
  int64_t memory_limit = 0;
  /// The SHA-256 that model.json must have, 64 hexadecimal digits, from a source you trust; through the
  /// hashes in it, it fixes every file. Empty = any. Bundle only.
  std::string sha256 = {};
};

/// A network's weights, by their names in the file.
using Weights = std::map<std::string, at::Tensor>;

/// Counts the bytes of weights, those that several networks share once.
class GLINT_API WeightBytes {
 public:
  /// Adds the memory of a dense tensor, all of it if the tensor is a view.
  void add(const at::Tensor& tensor);
  void add(const Weights& weights) {
    for (const auto& [name, tensor] : weights) add(tensor);
  }
  /// Adds memory that no tensor tells the size of, known by its owner.
  void add(const void* owner, int64_t bytes) {
    if (seen_.insert(owner).second) total_ += bytes;
  }

  int64_t total() const { return total_; }

 private:
  std::set<const void*> seen_;
  int64_t total_ = 0;
};

/// Maps tensors to tensors.
/// Thread:  `run` may be called concurrently.
class GLINT_API Network {
 public:
  virtual ~Network() = default;

  /// Returns the network's outputs, in order. Inputs must be on the network's device, in the dtypes it
  /// expects. Without `gradients`, outputs carry no autograd history.
  /// Errors:  Internal, with the engine's message, if it rejects the inputs; OutOfMemory.
  virtual std::vector<at::Tensor> run(std::vector<at::Tensor> inputs) const = 0;

  /// Returns the names of run()'s inputs, in order; empty if unknown (only safetensors components know).
  virtual std::vector<std::string> inputs() const { return {}; }

  /// Throws if the network knows that it cannot take latents of this shape, [C,H,W] or [C,F,H,W] with -1 for
  /// unknown sizes (only safetensors components know).
  /// Errors:  ShapeMismatch with both shapes.
  virtual void check_latents(const std::vector<int64_t>& /*shape*/) const {}

  /// Returns a network that shares these weights, with one setting of its architecture changed.
  /// Errors:  InvalidArgument for an unknown setting (only safetensors components have any) or value.
  virtual std::shared_ptr<const Network> with(std::string_view setting, std::string_view value) const;

  /// Returns the number of attention layers that the calling thread's AttentionScope controls.
  virtual int64_t attention_layers() const { return 0; }

  /// Returns whether the attention layers that read input number `tokens` of `inputs` take keys and values
  /// from it alone, so that text_keys works (TorchScript only).
  virtual bool text_apart(size_t /*tokens*/, size_t /*inputs*/) const { return false; }

  /// Returns those keys and values by layer, in order, and runs no more of the network than they need: of the
  /// other inputs only sizes matter. The first call prepares that part, which shares the weights.
  /// Errors:  as run; Internal unless text_apart.
  virtual std::vector<LayerKeys> text_keys(std::vector<at::Tensor> inputs, size_t tokens) const;

  /// Returns the weights with_weights can replace; empty for frozen archives and backends other than
  /// TorchScript.
  virtual const Weights& weights() const;

  /// Returns this network with some weights replaced, sharing everything else.
  /// Cost:    the first call takes about as long as loading, minus reading the file; later ones are cheap.
  /// Errors:  InvalidArgument for a name not in weights(); ShapeMismatch, UnsupportedDtype for values unlike
  ///          those they replace.
  virtual std::shared_ptr<const Network> with_weights(const Weights& changed) const;

  /// Adds the weights in memory, in every form they are kept in. Exported programs and compiled packages
  /// count as large as their files.
  virtual void add_bytes(WeightBytes& /*sum*/) const {}

  /// Returns what, while it is held, keeps the weights in memory and what weights() returned valid; null for
  /// a network that always has them.
  virtual std::shared_ptr<const void> hold() const { return nullptr; }
};

/// Returns the network in `path`, ready to run. All files but safetensors are executable code: load only
/// files you trust, such as those whose SHA-256 matches a trusted manifest (Bundle checks it). A safetensors
/// file holds the weights of a built-in architecture, npnet or core2, named in its metadata. The file is read
/// once, as a whole; what happens to it later has no effect.
/// Errors:  NotFound if there is no such file; BadModel if `backend` cannot read it, a tensor in it lies
///          outside its data (naming the tensor), or it was made by a torch that this one cannot read, or
///          for another architecture; UnsupportedDevice; InvalidArgument for a dtype or gradients the backend
///          does not support, and for code without Trust::Code.
GLINT_API std::shared_ptr<const Network> load_network(const std::filesystem::path& path, Backend backend,
                                                      const LoadOptions& options = {});

}  // namespace glint
