#include "collect/collect.hpp"

#include "collect/folder.hpp"
#include "pipeline/identity.hpp"
#include "pipeline/sizes.hpp"

#include <ATen/ops/arange.h>

#include <limits>

namespace glint::detail {
namespace {

using Json = nlohmann::ordered_json;

/// Returns everything the files' contents depend on.
Json identity(const Pipeline& pipeline, const CollectRequest& request, const Collector& collector,
              const Plan& plan) {
  Json identity = {{"format", 1}, {"kind", collector.kind}};
  identity.update(request_identity(pipeline.bundle(), request.generate, plan, collector.components));
  Json& options = identity["options"];
  options["shard"] = request.shard;
  options["stored"] = enum_name(request.stored);
  for (const auto& [name, value] : collector.options.items()) options[name] = value;
  return identity;
}

void check(const CollectRequest& request) {
  const GenerateRequest& generate = request.generate;
  check_numbers(generate);
  GLINT_CHECK(generate.first == 0 && !generate.limit, InvalidArgument,
              "first, limit: a collection always has all its items");
  GLINT_CHECK(generate.with.empty() && generate.adapters.empty() && !generate.conditioning &&
                  !generate.noise.defined(),
              InvalidArgument,
              "generate: methods, adapters, conditionings and noise cannot be collected with");
  check_prompts(generate);
  check_share(request.share);
  constexpr int64_t kMostItems = int64_t{1} << 31;  // of a shard, which memory holds
  GLINT_CHECK(request.shard >= 1, InvalidArgument, "shard: expected at least 1, got {}", request.shard);
  GLINT_CHECK(request.shard <= kMostItems, InvalidArgument, "shard: expected at most {}, got {}", kMostItems,
              request.shard);
  const auto prompts = static_cast<int64_t>(generate.prompts.size());
  const auto last = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  GLINT_CHECK(generate.seed <= last - static_cast<uint64_t>(generate.count * prompts), InvalidArgument,
              "seed: {} and the {} after it are stored as int64; expected smaller ones", generate.seed,
              generate.count * prompts);
}

/// A shard's tensors, collected batch by batch.
class Shard {
 public:
  void append(TensorMap&& batch) {
    for (auto& [name, tensor] : batch) parts_[name].push_back(std::move(tensor));
  }

  TensorMap take() {
    TensorMap tensors;
    for (auto& [name, parts] : parts_) {
      tensors[name] = at::cat(parts);
      parts.clear();  // so that at most one tensor exists twice
    }
    parts_.clear();
    return tensors;
  }

 private:
  std::map<std::string, std::vector<at::Tensor>> parts_;
};

/// A collection's items in order: how to sample each, and what to store besides the collector's tensors.
class Items {
 public:
  Items(const Pipeline& pipeline, const CollectRequest& request, const Plan& plan)
      : pipeline_(pipeline), request_(request), plan_(plan) {}

  const std::set<std::string>& unknown_words() const { return unknown_; }
  const std::set<std::string>& dropped_words() const { return dropped_; }

  /// Returns the request for items first, first + 1, ...: one conditional row each, and one unconditional
  /// row.
  SampleRequest batch(int64_t first, int64_t size) {
    std::vector<Conditioning> rows;
    for (int64_t item = first; item < first + size; ++item)
      rows.push_back(encoded(item / plan_.per_prompt).cond);
    return {.prompt = Prompt{.cond = joined(rows), .uncond = encoded_.uncond},
            .seed = request_.generate.seed + static_cast<uint64_t>(first),
            .batch = size,
            .latent_shape = plan_.latent_shape,
            .observer = request_.generate.observer};
  }

  /// Adds what identifies the kept items to the collector's tensors.
  TensorMap described(TensorMap tensors, const SampleRequest& batch, int64_t first) const {
    const at::Tensor item = tensors.at("item");
    tensors.erase("item");
    const at::Tensor numbers = item.add(first);
    tensors["prompt"] = numbers.div(plan_.per_prompt, "floor");
    tensors["seed"] = numbers.add(static_cast<int64_t>(request_.generate.seed));
    for (const auto& [name, value] :
         {std::pair{"tokens", &batch.prompt.cond.tokens}, {"pooled", &batch.prompt.cond.pooled}})
      if (value->defined()) tensors[name] = stored(value->index_select(0, item), request_);
    return tensors;
  }

 private:
  const Prompt& encoded(int64_t prompt) {
    if (prompt == encoded_prompt_) return encoded_;
    TokenizedPrompt words;
    const std::string& text = request_.generate.prompts[static_cast<size_t>(prompt)];
    encoded_ = pipeline_.encode(plan_, request_.generate, text, &words);
    unknown_.insert(words.unknown.begin(), words.unknown.end());
    dropped_.insert(words.dropped.begin(), words.dropped.end());
    encoded_prompt_ = prompt;
    return encoded_;
  }

  const Pipeline& pipeline_;
  const CollectRequest& request_;
  const Plan& plan_;
  std::set<std::string> unknown_, dropped_;
  int64_t encoded_prompt_ = -1;
  Prompt encoded_;
};

}  // namespace

at::Tensor stored(const at::Tensor& values, const CollectRequest& request) {
  return values.to(at::kCPU, request.stored == StoredType::Float16 ? at::kHalf : at::kFloat);
}

Plan plan_of(const Pipeline& pipeline, const CollectRequest& request) {
  check(request);
  return pipeline.resolve(request.generate);
}

CollectResult collect(const Pipeline& pipeline, const CollectRequest& request, const Plan& plan,
                      const Collector& collector) {
  const GenerateRequest& generate = request.generate;
  CollectionFolder folder(request.folder, identity(pipeline, request, collector, plan), generate.prompts,
                          request.share, pipeline.bundle().options().warn);
  Items items(pipeline, request, plan);
  CollectResult result{.resumed_items = folder.own().items};
  for (auto number = folder.missing(0); number; number = folder.missing(*number + 1)) {
    const int64_t start = folder.first_item(*number), end = start + folder.size(*number);
    const CollectionFolder::Counts before = folder.own();
    Shard shard;
    int64_t kept = 0;
    TensorMap constants = collector.constants;
    for (int64_t first = start; first < end; first += generate.batch) {
      const SampleRequest batch = items.batch(first, std::min(generate.batch, end - first));
      TensorMap tensors = collector.collect(batch, result.usage);
      kept += tensors.at("item").size(0);
      shard.append(items.described(std::move(tensors), batch, first));
      if (collector.stores_uncond)
        for (const auto& [name, value] : {std::pair{"null_tokens", &batch.prompt.uncond.tokens},
                                          {"null_pooled", &batch.prompt.uncond.pooled}})
          if (value->defined()) constants[name] = stored(*value, request);
      if (request.progress)
        request.progress({.done = before.items + std::min(first + generate.batch, end) - start,
                          .total = folder.share_items(),
                          .kept = before.kept + kept});
    }
    TensorMap tensors = shard.take();
    tensors.merge(constants);
    folder.add(*number, tensors, kept);
  }
  folder.finish([&] { return !generate.observer || generate.observer->keep_going(); });
  const CollectionFolder::Counts counts = request.share.rank == 0 ? folder.all() : folder.own();
  result.items = counts.items;
  result.kept = counts.kept;
  result.shards = counts.shards;
  result.unknown_words = items.unknown_words();
  result.dropped_words = items.dropped_words();
  return result;
}

}  // namespace glint::detail
