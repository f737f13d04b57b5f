// Adapters (LoRA): low-rank updates of a network's weights, read from safetensors files and applied at a
// per-call scale.
#pragma once

#include <glint/core/tensor.hpp>
#include <glint/export.hpp>
#include <glint/model/model.hpp>
#include <glint/network/network.hpp>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace glint {

/// One low-rank update: W + scale * factor * up * down.
/// Shapes:  up [out,r]; down [r,in], or [r,in,kh,kw] flattened to [r,in*kh*kw] for a convolution.
struct LowRank {
  std::string key;                ///< key in the file without its suffix, for messages
  std::string layer;              ///< key without its component prefix
  at::Tensor up = {}, down = {};  ///< as stored: float32, float16 or bfloat16
  double factor = 1.0;            ///< alpha / r; 1 if the file has no alpha
};

/// The updates in a file, by target component: denoiser, text_encoder, text_encoder_2, text_encoder_3.
struct AdapterFile {
  std::string path;
  std::map<std::string, std::vector<LowRank>> layers = {};
};

/// One network's updates by weight name. `up` has as many rows as the weight.
using WeightChanges = std::map<std::string, std::vector<LowRank>>;

/// Reads a LoRA from a safetensors file. Keys may follow diffusers and PEFT (unet.NAME.lora_A.weight,
/// transformer.NAME.lora_B.ADAPTER.weight, NAME.lora.down.weight, NAME.processor.to_q_lora.up.weight, ...) or
/// Kohya (lora_unet_NAME.lora_down.weight, .lora_up.weight, .alpha; lora_te1_...). alpha comes from the key
/// NAME.alpha or from the metadata diffusers writes.
/// Errors:  NotFound; BadModel, naming file and keys, if it is not a safetensors file, has no low-rank layers
///          or incomplete or mismatched ones, or holds anything else (DoRA, LoHa, LoKr, Tucker forms and
///          biases are rejected).
GLINT_API AdapterFile read_adapter(const std::filesystem::path& path);

/// Matches the file's layers for `component` to a network's weights. Names are the archive's, with or without
/// a leading `unet.` or `transformer.`. The published checkpoints' names, which Kohya's scripts and ComfyUI
/// use for SDXL (input_blocks...), FLUX (double_blocks...) and Wan (blocks.N.self_attn...), are translated,
/// and fused projections are split.
/// Errors:  InvalidArgument, listing the keys that match nothing; ShapeMismatch, naming the key that does not
///          fit its weight.
GLINT_API WeightChanges match_adapter(const AdapterFile& file, const std::string& component,
                                      const Weights& weights);

/// A network with named adapters that can be applied at any scale.
/// Memory:  the changed weights of the last `kept` scale sets, on top of the base's; temporarily more while
///          threads still use evicted sets.
/// Thread:  const calls are safe concurrently; concurrent requests for one set compute it once.
class GLINT_API AdaptedNetwork {
 public:
  /// Errors:  InvalidArgument if the network is null, kept < 1, or there are adapters but the network's
  ///          weights cannot be replaced.
  explicit AdaptedNetwork(std::shared_ptr<const Network> network,
                          std::map<std::string, WeightChanges> adapters = {}, int kept = 3);

  const Network& base() const { return *network_; }
  std::vector<std::string> names() const;

  /// Returns the network with weights W + sum of scale factor up down, computed in float32 and rounded once
  /// to W's dtype; the base itself if all scales are 0.
  /// Cost:    nothing for the base and cached sets; else 2 r flop and one write per changed weight.
  /// Errors:  InvalidArgument for a name not in names() unless its scale is 0, and for a non-finite scale.
  std::shared_ptr<const Network> at(const Adapters& scales) const;

 private:
  struct Cache;
  std::shared_ptr<const Network> form(const Adapters& scales) const;

  std::shared_ptr<const Network> network_;
  std::map<std::string, WeightChanges> adapters_;
  std::shared_ptr<Cache> cache_;
};

}  // namespace glint
