// Whole requests: prompts to pictures through a model bundle.
#pragma once

#include <glint/bundle/bundle.hpp>
#include <glint/ops/attention_scope.hpp>
#include <glint/pipeline/plan.hpp>
#include <glint/pipeline/request.hpp>

#include <string>
#include <vector>

namespace glint {

/// A model bundle ready to generate.
/// Thread:  generate() may run on several threads at once; components are loaded when first needed.
class GLINT_API Pipeline {
 public:
  explicit Pipeline(Bundle bundle, Registry registry = builtins());

  const Bundle& bundle() const { return bundle_; }

  /// Returns everything about the request but its prompts: sampler, shapes, scale, tiles. Loads the denoiser,
  /// and whatever the request's methods need of the bundle.
  /// Errors:  InvalidArgument for options, sizes and names; NotFound for a component the request needs and
  ///          the bundle lacks; those of Sampler and Bundle.
  Plan resolve(const GenerateRequest& request) const;

  /// Loads the components that the request needs, and no others, so that generate() waits for no file.
  /// Errors:  as resolve.
  void preload(const GenerateRequest& request) const;

  /// Returns pictures for the request.
  /// Errors:  as resolve; those of PromptEncoder and Sampler. Nothing is left changed by a failed or
  ///          cancelled call.
  GenerateResult generate(const GenerateRequest& request) const;

  /// Returns the conditionings of one of the request's prompts. `words` gets its tokens.
  /// Errors:  those of PromptEncoder.
  Prompt encode(const Plan& plan, const GenerateRequest& request, const std::string& prompt,
                TokenizedPrompt* words = nullptr) const;

  /// Returns what the denoiser's attention layers meet in one model call of the request, in the order they
  /// run.
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
