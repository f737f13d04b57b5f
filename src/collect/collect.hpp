// What the collections share: items to batches, batches to shards, and what the files' content depends on.
#pragma once

#include <glint/collect/collection.hpp>
#include <glint/io/safetensors.hpp>
#include <glint/pipeline/pipeline.hpp>

#include <nlohmann/json.hpp>

#include <functional>
#include <string>
#include <vector>

namespace glint::detail {

/// What is collected, how, and under which name.
struct Collector {
  std::string kind;                     ///< "trajectories" or "noise-pairs"
  nlohmann::ordered_json options = {};  ///< beside those of the request
  std::vector<std::string> components =
      {};                    ///< whose networks decide what comes out, the denoiser among them
  TensorMap constants = {};  ///< tensors every shard has
  /// Returns what is kept of a batch: tensors [k,...], the rows of `item` (which of the batch, [k]) among
  /// them; names that begin with `candidate_` have a row for every item of the batch instead.
  std::function<TensorMap(const SampleRequest& batch, Usage& usage)> collect = nullptr;
  bool stores_uncond = false;
};

/// Returns the request's plan.   Errors: InvalidArgument for what cannot be collected; those of
/// Pipeline::resolve.
Plan plan_of(const Pipeline& pipeline, const CollectRequest& request);

/// Collects whatever the folder does not have yet.
CollectResult collect(const Pipeline& pipeline, const CollectRequest& request, const Plan& plan,
                      const Collector& collector);

/// Returns `values` in the request's type.
at::Tensor stored(const at::Tensor& values, const CollectRequest& request);

}  // namespace glint::detail
