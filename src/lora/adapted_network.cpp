#include "lora/weight_change.hpp"
#include "network/host_state.hpp"

#include <glint/core/error.hpp>
#include <glint/core/nearest.hpp>
#include <glint/core/tensor.hpp>
#include <glint/lora/adapter.hpp>

#include <cmath>
#include <list>
#include <mutex>

namespace glint {
namespace {

/// So that its product with any factor of read_adapter fits into float32.
constexpr double kLargestScale = 1e9;

/// Returns a weight with its changes applied in at least float32.
at::Tensor changed(const at::Tensor& weight,
                   const std::vector<std::pair<const WeightChange*, double>>& changes) {
  const at::ScalarType precision = weight.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  at::Tensor sum = weight.to(weight.options().dtype(precision), /*non_blocking=*/false, /*copy=*/true)
                       .contiguous()
                       .view({weight.size(0), -1});
  for (const auto& [change, scale] : changes) detail::add_change(sum, weight, *change, scale);
  return sum.view(weight.sizes()).to(weight.scalar_type());
}

}  // namespace

/// Recently used sets, most recent first. A slot's own lock is held while its weights are computed, so that
/// threads using other sets need not wait; its network is under the cache's.
struct AdaptedNetwork::Cache {
  struct Slot {
    Adapters scales;
    std::mutex forming;
    std::shared_ptr<const Network> network;
  };
  size_t kept;
  std::mutex mutex;
  std::list<std::shared_ptr<Slot>> slots;

  explicit Cache(int sets) : kept(static_cast<size_t>(sets)) {}

  std::shared_ptr<Slot> slot(const Adapters& scales) {
    const std::lock_guard lock(mutex);
    for (auto it = slots.begin(); it != slots.end(); ++it) {
      if ((*it)->scales != scales) continue;
      slots.splice(slots.begin(), slots, it);
      return slots.front();
    }
    // Evict before computing the new set, so that there are never more than `kept`.
    while (slots.size() >= kept) slots.pop_back();
    auto slot = std::make_shared<Slot>();
    slot->scales = scales;
    slots.push_front(slot);
    return slot;
  }

  std::shared_ptr<const Network> network_of(const Slot& slot) {
    const std::lock_guard lock(mutex);
    return slot.network;
  }
  void set(Slot& slot, std::shared_ptr<const Network> network) {
    const std::lock_guard lock(mutex);
    slot.network = std::move(network);
  }
};

AdaptedNetwork::AdaptedNetwork(std::shared_ptr<const Network> network,
                               std::map<std::string, WeightChanges> adapters, int kept, MakeRoom make_room)
    : network_(std::move(network)), adapters_(std::move(adapters)), make_room_(std::move(make_room)) {
  GLINT_CHECK(network_, InvalidArgument, "network: expected a loaded network, got none");
  GLINT_CHECK(kept >= 1, InvalidArgument, "adapter_sets: expected at least 1, got {}", kept);
  GLINT_CHECK(adapters_.empty() || !network_->weights().empty(), InvalidArgument,
              "adapters: the network's weights cannot be changed");
  cache_ = std::make_shared<Cache>(kept);
}

std::vector<std::string> AdaptedNetwork::names() const {
  std::vector<std::string> names;
  for (const auto& [name, changes] : adapters_) names.push_back(name);
  return names;
}

std::shared_ptr<const Network> AdaptedNetwork::at(const Adapters& scales) const {
  Adapters used;
  for (const auto& [name, scale] : scales) {
    if (scale == 0.0) continue;
    GLINT_CHECK(adapters_.contains(name), InvalidArgument, "adapters: there is no adapter '{}'{}", name,
                adapters_.empty() ? "; this model has none" : did_you_mean(name, names()));
    GLINT_CHECK(std::isfinite(scale), InvalidArgument, "adapters.{}: expected a finite scale, got {}", name,
                scale);
    GLINT_CHECK(std::abs(scale) <= kLargestScale, InvalidArgument,
                "adapters.{}: expected a scale from -{} to {}, got {}", name, kLargestScale, kLargestScale,
                scale);
    used.emplace(name, scale);
  }
  if (used.empty()) return network_;
  const std::shared_ptr<Cache::Slot> slot = cache_->slot(used);
  const std::lock_guard lock(slot->forming);
  if (auto made = cache_->network_of(*slot)) return made;
  auto made = detail::torch_boundary(ErrorCode::Internal, "adapters", [&] { return form(used); });
  cache_->set(*slot, made);
  return made;
}

void AdaptedNetwork::forget() const {
  std::list<std::shared_ptr<Cache::Slot>> ended;  // freed once the lock is given back
  const std::lock_guard lock(cache_->mutex);
  ended.swap(cache_->slots);
}

void AdaptedNetwork::add_kept_bytes(WeightBytes& sum) const {
  const std::lock_guard lock(cache_->mutex);
  for (const auto& slot : cache_->slots)
    if (slot->network) slot->network->add_bytes(sum);
}

std::shared_ptr<const Network> AdaptedNetwork::form(const Adapters& scales) const {
  std::map<std::string, std::vector<std::pair<const WeightChange*, double>>> all;
  for (const auto& [name, scale] : scales)
    for (const auto& [weight, changes] : adapters_.at(name))
      for (const WeightChange& change : changes) all[weight].emplace_back(&change, scale);
  const auto held = network_->hold();  // the same weights all along
  const Weights& own = network_->weights();
  int64_t bytes = 0;
  for (const auto& [name, changes] : all) bytes += static_cast<int64_t>(own.at(name).nbytes());
  if (make_room_) make_room_(bytes);
  Weights weights;
  for (const auto& [name, changes] : all) weights.emplace(name, changed(own.at(name), changes));
  return network_->with_weights(weights);
}

}  // namespace glint
