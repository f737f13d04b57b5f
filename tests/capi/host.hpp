// A host of the C interface, for its tests: a network in plain arrays, objects that are released at the end.
#pragma once

#include <glint/glint.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace glint::test {

/// What the host's network does, and what it was asked.
struct Network {
  std::atomic<int> calls = 0, destroyed = 0;
  std::chrono::microseconds nap{0};
  int32_t answer = 0;
  bool throws = false;
  std::atomic<double> token = -1.0;  // the first token it was last shown
  std::atomic<size_t> adapters = 0, branches = 0;

  static int32_t predict(void* user, const glint_predict_call* call) {
    auto& own = *static_cast<Network*>(user);
    ++own.calls;
    own.branches = call->branch_count;
    own.adapters = call->adapter_count;
    if (own.throws) throw 7;
    std::this_thread::sleep_for(own.nap);
    int64_t count = 1;
    for (int32_t d = 0; d < call->latents.rank; ++d) count *= call->latents.sizes[d];
    for (size_t b = 0; b < call->branch_count; ++b) {
      const glint_branch& branch = call->branches[b];
      double token = 0.1 * static_cast<double>(b);
      if (branch.tokens.data) {
        token = *static_cast<const float*>(branch.tokens.data);
        own.token = token;
      }
      const auto* x = static_cast<const float*>(call->latents.data);
      auto* out = static_cast<float*>(branch.output.data);
      for (int64_t i = 0; i < count; ++i) out[i] = 0.3f * x[i] + static_cast<float>(token);
    }
    return own.answer;
  }
  static void destroy(void* user) { ++static_cast<Network*>(user)->destroyed; }
};

inline glint_model model_of(Network& network, glint_noise_kind kind = GLINT_FLOW) {
  static const int64_t sizes[] = {4, 8, 8};
  glint_model model = GLINT_INIT(glint_model);
  model.name = "host";
  model.prediction = kind == GLINT_FLOW ? GLINT_VELOCITY : GLINT_EPSILON;
  model.noise_kind = kind;
  model.latent_rank = 3;
  model.latent_sizes = sizes;
  model.predict = Network::predict;
  model.user = &network;
  model.destroy = Network::destroy;
  return model;
}

/// An engine and a session over a network.
struct Host {
  glint_engine* engine = nullptr;
  glint_session* session = nullptr;

  explicit Host(Network& network, glint_noise_kind kind = GLINT_FLOW) {
    const glint_model model = model_of(network, kind);
    glint_engine_config config = GLINT_INIT(glint_engine_config);
    config.model = &model;
    glint_engine_create(&config, &engine);
    glint_session_create(engine, &session);
    glint_session_set(session, "steps", "6");
  }
  ~Host() {
    glint_session_release(session);
    glint_engine_release(engine);
  }
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;

  /// The latents of one run on this thread; empty if it fails.
  std::vector<float> run() const {
    glint_job* job = nullptr;
    std::vector<float> latents;
    if (glint_job_run(session, nullptr, &job) == GLINT_OK) latents = latents_of(job);
    glint_job_release(job);
    return latents;
  }

  static std::vector<float> latents_of(glint_job* job) {
    size_t count = 0;
    if (glint_job_latents(job, nullptr, 0, &count) != GLINT_OK) return {};
    std::vector<float> latents(count);
    glint_job_latents(job, latents.data(), count, nullptr);
    return latents;
  }
};

/// The message of this thread's last failure.
inline std::string last_error() { return glint_last_error(); }

}  // namespace glint::test
