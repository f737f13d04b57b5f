// Machinery shared by all collections: items to batches, batches to shards, and the collection's identity.
#pragma once

#include <glint/collect/collection.hpp>
#include <glint/io/safetensors.hpp>
#include <glint/pipeline/pipeline.hpp>

#include <nlohmann/json.hpp>

#include <functional>
#include <string>
#include <vector>

namespace glint::detail {

/// What to collect, how, and under which name.
struct Collector {
  std::string kind;                     ///< "trajectories" or "noise-pairs"
  nlohmann::ordered_json options = {};  ///< in addition to the request's
  std::vector<std::string> components =
      {};                    ///< components whose networks determine the result, including the denoiser
  TensorMap constants = {};  ///< tensors stored in every shard
  /// Returns the tensors [k,...] to keep from a batch, including `item` [k], their indices in the batch;
  /// names that start with `candidate_` have one row per batch item instead.
  std::function<TensorMap(const SampleRequest& batch, Usage& usage)> collect = nullptr;
  bool stores_uncond = false;
};

/// Returns the request's plan.
/// Errors: InvalidArgument for requests that cannot be collected; those of Pipeline::resolve.
Plan plan_of(const Pipeline& pipeline, const CollectRequest& request);

/// Collects what the folder still lacks.
CollectResult collect(const Pipeline& pipeline, const CollectRequest& request, const Plan& plan,
                      const Collector& collector);

/// Returns `values` in the dtype of request.stored.
at::Tensor stored(const at::Tensor& values, const CollectRequest& request);

}  // namespace glint::detail
