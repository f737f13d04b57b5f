// Adapters (LoRA): low-rank changes of a network's weights, read from safetensors and applied at any scale
// per call.
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

/// One low-rank change: W + scale * factor * up * down.
/// Shapes:  up [out,r]; down [r,in], or [r,in,kh,kw] flattened to [r,in*kh*kw] for a convolution.
struct LowRank {
  std::string key;                ///< as the file has it, without its ending; for messages
  std::string layer;              ///< the same without what says the component
  at::Tensor up = {}, down = {};  ///< as stored: float32, float16 or bfloat16
  double factor = 1.0;            ///< alpha / r; 1 if the file tells no alpha
};

/// The changes in a file, by the component they are for: denoiser, text_encoder, text_encoder_2,
/// text_encoder_3.
struct AdapterFile {
  std::string path;
  std::map<std::string, std::vector<LowRank>> layers = {};
};

/// The changes of one network, by the name of the weight. Their `up` has as many rows as the weight.
using WeightChanges = std::map<std::string, std::vector<LowRank>>;

/// Returns the LoRA in a safetensors file. Keys may be those of diffusers and PEFT (unet.NAME.lora_A.weight,
/// transformer.NAME.lora_B.ADAPTER.weight, NAME.lora.down.weight, NAME.processor.to_q_lora.up.weight, ...) or
/// Kohya's (lora_unet_NAME.lora_down.weight, .lora_up.weight, .alpha; lora_te1_...). alpha comes from the key
/// NAME.alpha or from the metadata diffusers writes.
/// Errors:  NotFound; BadModel naming file and keys if it is no safetensors file, holds no low-rank layer,
///          half of one, one whose shapes do not fit together, or anything else (DoRA, LoHa, LoKr, Tucker
///          forms and biases are refused).
GLINT_API AdapterFile read_adapter(const std::filesystem::path& path);

/// Returns what the file's layers for `component` change in a network with these weights. Names are the
/// archive's, with or without a leading `unet.` or `transformer.`; the names of the published checkpoints
/// that Kohya's scripts and ComfyUI use for SDXL (input_blocks...), FLUX (double_blocks...) and Wan
/// (blocks.N.self_attn...) are translated, fused projections divided over their parts.
/// Errors:  InvalidArgument listing the keys that match nothing; ShapeMismatch naming the key that does not
///          fit its weight.
GLINT_API WeightChanges match_adapter(const AdapterFile& file, const std::string& component,
                                      const Weights& weights);

/// A network and the adapters it may be given, by name.
/// Memory:  the changed weights of the last `kept` scale sets, each the size of those weights, beside the
///          base's; one more while threads use sets that others have displaced.
/// Thread:  const calls are safe concurrently; two threads that ask for one set form it once.
class GLINT_API AdaptedNetwork {
 public:
  /// Errors:  InvalidArgument if the network is null, kept is less than 1, or there are adapters and the
  ///          network's weights cannot be changed.
  explicit AdaptedNetwork(std::shared_ptr<const Network> network,
                          std::map<std::string, WeightChanges> adapters = {}, int kept = 3);

  const Network& base() const { return *network_; }
  std::vector<std::string> names() const;

  /// Returns the network whose weights are W + sum of scale factor up down, formed in float32 and rounded
  /// once to what W is stored in. Where all scales are 0 that is the base itself.
  /// Cost:    nothing for the base and for a set in the cache; else 2 r flop and one write for every changed
  ///          weight.
  /// Errors:  InvalidArgument for a name that is not among names() unless its scale is 0, and for a scale
  ///          that is not finite.
  std::shared_ptr<const Network> at(const Adapters& scales) const;

 private:
  struct Cache;
  std::shared_ptr<const Network> form(const Adapters& scales) const;

  std::shared_ptr<const Network> network_;
  std::map<std::string, WeightChanges> adapters_;
  std::shared_ptr<Cache> cache_;
};

}  // namespace glint
