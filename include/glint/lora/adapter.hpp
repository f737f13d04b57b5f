// Adapters (LoRA and its relatives): changes of a network's weights, read from safetensors files and applied
// at a per-call scale.
#pragma once

#include <glint/core/tensor.hpp>
#include <glint/export.hpp>
#include <glint/model/model.hpp>
#include <glint/network/network.hpp>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace glint {

/// A matrix [rows,columns] as a file has it: whole, or as up core down. The columns of a convolution's kernel
/// [out,in,kh,kw] are its in*kh*kw values. Tensors have the file's dtype: float64, float32, float16, bfloat16
/// or float8.
struct AdapterMatrix {
  at::Tensor whole = {};  ///< [rows,...]; undefined if the others are not
  at::Tensor up = {};     ///< [rows,r]
  at::Tensor down = {};   ///< [r,columns], or [r,in] with a core
  at::Tensor core = {};   ///< Tucker's: [r,r,kh,kw]; undefined = the identity

  bool defined() const { return whole.defined() || up.defined(); }
  GLINT_API int64_t rows() const;
  GLINT_API int64_t columns() const;
};

/// What a weight W becomes at scale s.
enum class ChangeForm {
  Sum,        ///< W + s factor first: LoRA, LoCon, whole differences
  Hadamard,   ///< W + s factor first * second, by elements: LoHa
  Kronecker,  ///< W + s factor kron(first, second): LoKr
  Value       ///< first, at every scale but 0: FLUX control's norms
};

/// One change of a weight, or of some of its rows.
struct WeightChange {
  std::string key;                   ///< key in the file without its suffix, for messages
  std::string layer;                 ///< key without its component prefix
  std::string parameter = "weight";  ///< weight | bias
  ChangeForm form = ChangeForm::Sum;
  AdapterMatrix first = {}, second = {};
  double factor = 1.0;  ///< alpha / r; 1 if the file has no alpha
  /// DoRA: with V the changed weight, it becomes magnitude V / |V|, by rows if [out], by input channels if
  /// [1,in].
  at::Tensor magnitude = {};
  int64_t skipped = 0;   ///< rows of first (Kronecker: of the product) that belong to other weights
  int64_t row = 0;       ///< first row of the weight that changes
  int64_t changed = -1;  ///< number of rows; -1 = all of the change's

  /// Size of the change, that of all weights it is for.
  GLINT_API int64_t rows() const;
  GLINT_API int64_t columns() const;
};

/// The changes in a file, by target component: denoiser, text_encoder, text_encoder_2, text_encoder_3.
struct AdapterFile {
  std::string path;
  std::map<std::string, std::vector<WeightChange>> layers = {};
  bool partial = false;  ///< layers that match nothing are left out
};

/// One network's changes by weight name.
using WeightChanges = std::map<std::string, std::vector<WeightChange>>;

/// Receives what was left out of a file, and what is doubtful about it.
using AdapterWarn = std::function<void(const std::string& message)>;

/// Reads an adapter from a safetensors file, or from PEFT's folder. docs/models.md lists the dialects: the
/// keys of diffusers, PEFT, Kohya's scripts, LyCORIS, ComfyUI, XLabs and of FLUX control, for LoRA, LoCon
/// with and without a Tucker core, LoHa, LoKr, DoRA and whole differences of weights, biases and norms. alpha
/// comes from the key NAME.alpha, from adapter_config.json or from the metadata diffusers writes. Tensors
/// that belong to no layer are refused if they may have meant a change, that is if they are floating-point
/// and not all 0, or left out with a warning if `source.partial`.
/// Errors:  NotFound; BadModel, naming file and keys, if it is not a safetensors file, has no layers or
///          incomplete or mismatched ones, or holds anything else.
GLINT_API AdapterFile read_adapter(const AdapterSource& source, const AdapterWarn& warn = {});

/// Matches the file's layers for `component` to a network's weights. Names are the archive's, with or without
/// a leading `unet.` or `transformer.`. The published checkpoints' names, which Kohya's scripts and ComfyUI
/// use for SDXL (input_blocks...), SD3 (joint_blocks...), FLUX (double_blocks...) and Wan
/// (blocks.N.self_attn...), are translated, and fused projections are split. Layers that match nothing are
/// left out if they change nothing, or with a warning if the file is partial.
/// Errors:  InvalidArgument, listing the keys that match nothing; ShapeMismatch, naming the key that does not
///          fit its weight; BadModel for a DoRA magnitude that cannot be split.
GLINT_API WeightChanges match_adapter(const AdapterFile& file, const std::string& component,
                                      const Weights& weights, const AdapterWarn& warn = {});

/// Is called before changed weights of so many bytes are made; what it throws prevents that.
using MakeRoom = std::function<void(int64_t bytes)>;

/// A network with named adapters that can be applied at any scale.
/// Memory:  the changed weights of the last `kept` scale sets, on top of the base's; temporarily more while
///          threads still use evicted sets. Adapters stay as their files have them, factors as factors.
/// Thread:  const calls are safe concurrently; concurrent requests for one set compute it once.
class GLINT_API AdaptedNetwork {
 public:
  /// Errors:  InvalidArgument if the network is null, kept < 1, or there are adapters but the network's
  ///          weights cannot be replaced.
  explicit AdaptedNetwork(std::shared_ptr<const Network> network,
                          std::map<std::string, WeightChanges> adapters = {}, int kept = 3,
                          MakeRoom make_room = {});

  const Network& base() const { return *network_; }
  std::vector<std::string> names() const;

  /// Returns the network with weights W + sum of the changes that each adapter alone makes to W at its scale,
  /// computed in float32 and rounded once to W's dtype; the base itself if all scales are 0. As in PEFT,
  /// DoRA's scale is that of the update inside the norm.
  /// Cost:    nothing for the base and cached sets; else 2 r flop and one write per changed weight. LoHa
  ///          takes two more matrices of one weight's size while that weight is formed, DoRA one.
  /// Errors:  InvalidArgument for a name not in names() unless its scale is 0, and for a non-finite scale.
  std::shared_ptr<const Network> at(const Adapters& scales) const;

  /// Lets go of the changed weights that are kept; they are made again when next asked for.
  void forget() const;

  /// Adds the changed weights that are kept.
  void add_kept_bytes(WeightBytes& sum) const;

 private:
  struct Cache;
  std::shared_ptr<const Network> form(const Adapters& scales) const;

  std::shared_ptr<const Network> network_;
  std::map<std::string, WeightChanges> adapters_;
  MakeRoom make_room_;
  std::shared_ptr<Cache> cache_;
};

}  // namespace glint
