// Collects classifier-free guidance's predictions along sampling, CoRe2's training data for its weak network.
#pragma once

#include <glint/collect/collection.hpp>
#include <glint/export.hpp>

namespace glint {

class Pipeline;

/// Samples every item with CFG and stores the network's outputs at each step.
/// Shapes:  a shard of n items of N steps has `latents`, `output` (conditional) and `null_output`
///          [n,N,C,...]; `sigma`, `model_time` and `position` (i / N) [N]; `prompt` and `seed` [n]; the
///          model's conditionings `tokens` [n,L,D] and `pooled` [n,P], and `null_tokens`, `null_pooled` with
///          one row. The guided prediction is null_output + guidance (output - null_output), with guidance
///          from collection.json.
/// Cost:    2 N rows per item, whatever the guidance.
/// Errors:  InvalidArgument if there is no prompt, a size is not positive, or the folder cannot be written,
///          is in use or holds anything but this collection; Cancelled, after which the same call resumes;
///          those of Pipeline.
/// Random:  as Pipeline::generate, so an item's latents are those of the image with its seed. The same
///          request gives the same files, interrupted or not, on the same processor with the same number of
///          threads.
/// Source:  Shao et al., "CoRe^2", arXiv:2503.09662, the Collect stage.
GLINT_API CollectResult collect_trajectories(const Pipeline& pipeline, const CollectRequest& request);

}  // namespace glint
