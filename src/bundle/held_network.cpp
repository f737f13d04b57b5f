#include "bundle/held_network.hpp"

#include "network/heap.hpp"

#include <glint/core/error.hpp>

namespace glint::detail {
namespace {

/// A network with another setting. It keeps nothing, so that its weights are those of the one it was made of.
class WithSetting final : public Network {
 public:
  WithSetting(std::shared_ptr<const HeldNetwork> network, std::string setting, std::string value)
      : network_(std::move(network)), setting_(std::move(setting)), value_(std::move(value)) {
    now();  // throws for what it has not
  }

  std::vector<at::Tensor> run(std::vector<at::Tensor> inputs) const override {
    return now()->run(std::move(inputs));
  }
  std::vector<std::string> inputs() const override { return network_->inputs(); }
  void check_latents(const std::vector<int64_t>& shape) const override { now()->check_latents(shape); }
  std::shared_ptr<const void> hold() const override { return network_->hold(); }

 private:
  std::shared_ptr<const Network> now() const { return network_->now()->with(setting_, value_); }

  std::shared_ptr<const HeldNetwork> network_;
  std::string setting_, value_;
};

}  // namespace

Stage stage_of(std::string_view component) {
  if (component.starts_with("text_encoder")) return Stage::Encode;
  return component.starts_with("vae_") ? Stage::Decode : Stage::Sample;
}

void WeightLedger::add_bytes(WeightBytes& sum) const {
  const std::lock_guard lock(mutex);
  for (const auto& [name, network] : networks) network->add_bytes(sum);
}

void WeightLedger::make_room(const std::string& component, int64_t bytes) const {
  if (limit == 0) return;
  const std::lock_guard lock(mutex);
  const auto held = [&] {
    WeightBytes sum;
    add_bytes(sum);
    return sum.total();
  };
  for (const auto& [name, network] : networks) {
    if (held() + bytes <= limit) return;
    if (stage_of(name) != stage_of(component) && network->idle()) network->release();
  }
  GLINT_CHECK(held() + bytes <= limit, OutOfMemory,
              "components.{}: needs {} bytes beside {} in use; memory_limit is {}", component, bytes, held(),
              limit);
}

HeldNetwork::HeldNetwork(std::shared_ptr<WeightLedger> ledger, std::string component, int64_t expected_bytes,
                         Load load)
    : ledger_(std::move(ledger)),
      component_(std::move(component)),
      expected_bytes_(expected_bytes),
      load_(std::move(load)) {
  const std::shared_ptr<const Network> network = now();
  inputs_ = network->inputs();
  attention_layers_ = network->attention_layers();
  const std::lock_guard lock(ledger_->mutex);
  ledger_->networks[component_] = this;
}

HeldNetwork::~HeldNetwork() {
  const std::lock_guard lock(ledger_->mutex);
  ledger_->networks.erase(component_);
}

std::shared_ptr<const Network> HeldNetwork::in_memory() const {
  const std::lock_guard lock(mutex_);
  return kept_ ? kept_ : last_.lock();
}

std::shared_ptr<const Network> HeldNetwork::now() const {
  const auto there = [this] {
    const std::lock_guard lock(mutex_);
    if (!kept_) kept_ = last_.lock();
    return kept_;
  };
  if (auto network = there()) return network;
  const std::lock_guard loading(ledger_->mutex);
  if (auto network = there()) return network;
  ledger_->make_room(component_, expected_bytes_);
  std::shared_ptr<const Network> made = load_();
  const std::lock_guard lock(mutex_);
  last_ = kept_ = made;
  return made;
}

void HeldNetwork::release() const {
  std::shared_ptr<const Network> ended;
  std::vector<std::weak_ptr<const AdaptedNetwork>> adapted;
  {
    const std::lock_guard lock(mutex_);
    ended.swap(kept_);
    adapted = adapted_;
  }
  for (const auto& one : adapted)
    if (const auto network = one.lock()) network->forget();
  if (!ended) return;
  ended = nullptr;
  trim_heap();
}

bool HeldNetwork::idle() const {
  const std::lock_guard lock(mutex_);
  return kept_ && kept_.use_count() == 1;
}

void HeldNetwork::adapted_by(std::weak_ptr<const AdaptedNetwork> adapted) const {
  const std::lock_guard lock(mutex_);
  std::erase_if(adapted_, [](const auto& one) { return one.expired(); });
  adapted_.push_back(std::move(adapted));
}

void HeldNetwork::add_bytes(WeightBytes& sum) const {
  std::vector<std::weak_ptr<const AdaptedNetwork>> adapted;
  {
    const std::lock_guard lock(mutex_);
    adapted = adapted_;
  }
  if (const auto network = in_memory()) network->add_bytes(sum);
  for (const auto& one : adapted)
    if (const auto network = one.lock()) network->add_kept_bytes(sum);
}

std::shared_ptr<const Network> HeldNetwork::with(std::string_view setting, std::string_view value) const {
  return std::make_shared<const WithSetting>(shared_from_this(), std::string(setting), std::string(value));
}

bool HeldNetwork::text_apart(size_t tokens, size_t inputs) const {
  const auto key = std::pair{tokens, inputs};
  {
    const std::lock_guard lock(mutex_);
    if (const auto known = text_apart_.find(key); known != text_apart_.end()) return known->second;
  }
  const bool apart = now()->text_apart(tokens, inputs);
  const std::lock_guard lock(mutex_);
  text_apart_[key] = apart;
  return apart;
}

}  // namespace glint::detail
