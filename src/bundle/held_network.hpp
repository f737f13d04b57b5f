// A component's network that can be let go of, and is loaded again when it is next used.
#pragma once

#include <glint/lora/adapter.hpp>
#include <glint/network/network.hpp>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace glint::detail {

class HeldNetwork;

/// What a bundle's components have in memory, and how much that may be. Shared by all that can load one.
struct WeightLedger {
  explicit WeightLedger(int64_t most) : limit(most) {}

  /// Adds what is in memory.
  void add_bytes(WeightBytes& sum) const;

  /// Makes room for so many more bytes of a component. Where the limit would be passed, lets go of idle
  /// components of the other stages of a run: those of its own stage would be wanted back at once.
  /// Errors:  OutOfMemory, naming the component, the limit and what is held.
  void make_room(const std::string& component, int64_t bytes) const;

  const int64_t limit;  ///< bytes of weights; 0 = none
  // Held while a component loads: loading is rare, and concurrent loads would only be slower.
  mutable std::recursive_mutex mutex;
  std::map<std::string, const HeldNetwork*> networks;  // all there are
};

/// Thread:  const calls are safe concurrently; concurrent calls load the network once.
class HeldNetwork final : public Network, public std::enable_shared_from_this<HeldNetwork> {
 public:
  using Load = std::function<std::shared_ptr<const Network>()>;

  /// Loads the network, which is expected to take so many bytes.
  /// Errors:  OutOfMemory as WeightLedger::make_room; those of `load`.
  HeldNetwork(std::shared_ptr<WeightLedger> ledger, std::string component, int64_t expected_bytes, Load load);
  ~HeldNetwork() override;
  HeldNetwork(const HeldNetwork&) = delete;
  HeldNetwork& operator=(const HeldNetwork&) = delete;

  /// Returns the network, loading it if it is not in memory.   Errors: as the constructor.
  std::shared_ptr<const Network> now() const;

  /// Returns the network if it is in memory, or null.
  std::shared_ptr<const Network> in_memory() const;

  /// Lets go of the network and of the changed weights of its adapters. Calls that run with it end with it.
  void release() const;

  /// Whether it is in memory, and no call runs with it.
  bool idle() const;

  /// Says who keeps changed weights of this network.
  void adapted_by(std::weak_ptr<const AdaptedNetwork> adapted) const;

  void add_bytes(WeightBytes& sum) const override;
  std::shared_ptr<const void> hold() const override { return now(); }

  std::vector<at::Tensor> run(std::vector<at::Tensor> inputs) const override {
    return now()->run(std::move(inputs));
  }
  std::vector<std::string> inputs() const override { return inputs_; }
  void check_latents(const std::vector<int64_t>& shape) const override { now()->check_latents(shape); }
  std::shared_ptr<const Network> with(std::string_view setting, std::string_view value) const override;
  int64_t attention_layers() const override { return attention_layers_; }
  bool text_apart(size_t tokens, size_t inputs) const override;
  std::vector<LayerKeys> text_keys(std::vector<at::Tensor> inputs, size_t tokens) const override {
    return now()->text_keys(std::move(inputs), tokens);
  }
  const Weights& weights() const override { return now()->weights(); }
  std::shared_ptr<const Network> with_weights(const Weights& changed) const override {
    return now()->with_weights(changed);
  }

 private:
  std::shared_ptr<WeightLedger> ledger_;
  std::string component_;
  int64_t expected_bytes_;
  Load load_;
  // What is asked of a network without running it, so that asking loads nothing.
  std::vector<std::string> inputs_;
  int64_t attention_layers_ = 0;
  mutable std::map<std::pair<size_t, size_t>, bool> text_apart_;

  mutable std::mutex mutex_;  // of what follows; nothing is called with it
  mutable std::shared_ptr<const Network> kept_;
  mutable std::weak_ptr<const Network> last_;  // while a call runs with it, it is not loaded a second time
  mutable std::vector<std::weak_ptr<const AdaptedNetwork>> adapted_;
};

/// The stages of a run, each with components of its own.
enum class Stage { Encode, Sample, Decode };
Stage stage_of(std::string_view component);

}  // namespace glint::detail
