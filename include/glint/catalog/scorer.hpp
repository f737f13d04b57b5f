// Scorers: what rates pictures under prompts. Components of a bundle, or files of their own.
#pragma once

#include <glint/bundle/bundle.hpp>
#include <glint/export.hpp>
#include <glint/model/conditioning.hpp>

#include <functional>
#include <span>
#include <string>
#include <vector>

namespace glint {

/// Rates pictures under prompts; higher is better.
/// Thread:  const calls are safe concurrently.
class GLINT_API Scorer {
 public:
  /// Opens a component of the bundle or, where it has none of that name, what lies at that path: a
  /// TorchScript file, called with (image [B,3,H,W] in [-1,1], ids [B,L] of the bundle's own tokenizer), or a
  /// folder with a scorer.json (docs/evaluating.md), whose network gets the ids of the folder's own
  /// tokenizer. Device and trust are the bundle's.
  /// Errors:  NotFound if there is neither; BadModel if scorer.json or a file it names is malformed or has
  ///          another SHA-256, as load_network; InvalidArgument for code without Trust::Code.
  static Scorer open(const Bundle& bundle, const std::string& name_or_path);

  /// Returns one score for each picture. `texts` are the prompts' own, one for each picture or one for all;
  /// `prompt` is what they were encoded to.
  /// Shapes:  pictures [B,3,H,W] in [-1,1]; returns [B], float64 on the CPU.
  /// Errors:  BadModel if the network returns anything but one score for each picture; InvalidArgument if it
  ///          takes the ids of a prompt that has none; as Network::run.
  at::Tensor operator()(const at::Tensor& pictures, const Prompt& prompt,
                        std::span<const std::string> texts) const;

  /// Returns the component, or the name of the file without its extension, or that in scorer.json.
  const std::string& name() const { return name_; }

  /// Returns a hash of its network and tokenizer, the same wherever they lie.
  const std::string& identity() const { return identity_; }

 private:
  using Call = std::function<at::Tensor(const at::Tensor& pictures, const Prompt& prompt,
                                        std::span<const std::string> texts)>;
  Scorer(std::string name, std::string identity, Call call);

  std::string name_, identity_;
  Call call_;
};

/// Opens several.   Errors: as Scorer::open; InvalidArgument if two have one name.
GLINT_API std::vector<Scorer> open_scorers(const Bundle& bundle, const std::vector<std::string>& given);

}  // namespace glint
