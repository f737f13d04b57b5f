// The pipeline: from prompts to images or videos with a model bundle.
#pragma once

#include <glint/bundle/bundle.hpp>
#include <glint/ops/attention_scope.hpp>
#include <glint/pipeline/plan.hpp>
#include <glint/pipeline/request.hpp>

#include <string>
#include <vector>

namespace glint {

/// A model bundle ready to generate. Components are loaded on first use.
/// Thread:  generate() may run on several threads at once.
class GLINT_API Pipeline {
 public:
  explicit Pipeline(Bundle bundle, Registry registry = builtins());

  const Bundle& bundle() const { return bundle_; }

  /// Resolves everything about the request except its prompts: sampler, shapes, scale, tiles. Loads the
  /// denoiser and the components the request's methods need, unless they were loaded before; with
  /// free_params_immediately lets go of them again.
  /// Errors:  InvalidArgument for bad options, sizes and names; NotFound for a component the bundle lacks;
  ///          OutOfMemory, before anything is loaded, if text encoders, denoiser or decoder alone are above
  ///          the bundle's memory_limit; those of Sampler and Bundle.
  Plan resolve(const GenerateRequest& request) const;

  /// Loads exactly the components the request needs, so that generate() waits for no file; none if they are
  /// freed immediately.   Errors: as resolve.
  void preload(const GenerateRequest& request) const;

  /// Generates the requested images or videos. A failed or cancelled call leaves no trace.
  /// Errors:  as resolve; those of PromptEncoder and Sampler.
  GenerateResult generate(const GenerateRequest& request) const;

  /// Encodes one of the request's prompts, with its negative prompt. `words` receives the tokenization.
  /// Errors:  those of PromptEncoder.
  Prompt encode(const Plan& plan, const GenerateRequest& request, const std::string& prompt,
                TokenizedPrompt* words = nullptr) const;

  /// Returns the attention calls of one model call of the request, in the order they run.
  /// Cost:    one row through the network.   Errors: as generate.
  std::vector<AttentionCall> attention_calls(const GenerateRequest& request) const;

 private:
  GenerateResult run(const GenerateRequest& request) const;
  std::vector<Prompt> encode_all(const Plan& plan, const GenerateRequest& request,
                                 std::vector<TokenizedPrompt>& words) const;
  void decode(const GenerateRequest& request, const at::Tensor& latents, GenerateResult& result) const;

  Bundle bundle_;
  Registry registry_;
};

}  // namespace glint
