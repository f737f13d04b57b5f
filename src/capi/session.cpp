#include "capi/session.hpp"

#include <glint/core/nearest.hpp>

#include <array>

namespace glint::capi {
namespace {

constexpr std::array<std::string_view, 5> kTensors{"noise", "tokens", "pooled", "null_tokens", "null_pooled"};

Engine::Log log_of(const glint_engine_config& config) {
  if (!config.log) return nullptr;
  return [log = config.log, user = config.log_user](glint_log_level level, const std::string& text) {
    log(user, level, text.c_str());
  };
}

std::shared_ptr<const Engine> make_engine(const glint_engine_config& config) {
  GLINT_CHECK((config.bundle != nullptr) != (config.model != nullptr), InvalidArgument,
              "config: expected a bundle or a model, got {}", config.bundle ? "both" : "neither");
  if (config.model) return make_host_engine(taken(config.model, "model"), log_of(config));
  return make_bundle_engine(config, log_of(config));
}

}  // namespace
}  // namespace glint::capi

using namespace glint::capi;

extern "C" {

GLINT_C_API glint_status glint_engine_create(const glint_engine_config* config, glint_engine** engine) {
  return guarded([&] {
    check_given(engine, "engine");
    *engine = nullptr;
    *engine = new glint_engine(make_engine(taken(config, "config")));
  });
}
GLINT_C_API glint_status glint_engine_retain(glint_engine* engine) { return retain(engine, "engine"); }
GLINT_C_API glint_status glint_engine_release(glint_engine* engine) {
  return release(engine, "engine", [](glint_engine&) {});
}

GLINT_C_API glint_status glint_engine_memory(glint_engine* engine, const char* component, uint64_t* bytes) {
  return guarded([&] {
    const std::map<std::string, int64_t> memory = object(engine, "engine").body->memory();
    check_given(bytes, "bytes");
    uint64_t sum = 0;
    for (const auto& [name, held] : memory)
      if (!component || name == component) sum += static_cast<uint64_t>(held);
    GLINT_CHECK(!component || memory.contains(component), NotFound, "component: '{}' has nothing in memory",
                component);
    *bytes = sum;
  });
}
GLINT_C_API glint_status glint_engine_component(glint_engine* engine, int32_t index, char* text, size_t size,
                                                size_t* needed) {
  return guarded([&] {
    const std::map<std::string, int64_t> memory = object(engine, "engine").body->memory();
    GLINT_CHECK(index >= 0 && static_cast<size_t>(index) < memory.size(), NotFound,
                "index: {} components are in memory, got {}", memory.size(), index);
    give_text(std::next(memory.begin(), index)->first, text, size, needed);
  });
}
GLINT_C_API glint_status glint_engine_free_params(glint_engine* engine) {
  return guarded([&] { object(engine, "engine").body->free_params(); });
}

GLINT_C_API glint_status glint_session_create(glint_engine* engine, glint_session** session) {
  return guarded([&] {
    check_given(session, "session");
    *session = nullptr;
    *session = new glint_session(object(engine, "engine").body);
  });
}
GLINT_C_API glint_status glint_session_retain(glint_session* session) { return retain(session, "session"); }
GLINT_C_API glint_status glint_session_release(glint_session* session) {
  return release(session, "session", [](glint_session&) {});
}

GLINT_C_API glint_status glint_session_set(glint_session* session, const char* key, const char* value) {
  return guarded([&] {
    glint_session& own = object(session, "session");
    check_given(key, "key");
    if (value) {
      // Checked without the lock: what an engine logs meanwhile may make the host ask this session.
      Options changed = snapshot(own);
      changed.text.insert_or_assign(key, value);
      own.engine->check(changed, key);
    } else {
      own.engine->check_key(key);
    }
    const std::lock_guard lock(own.mutex);
    if (value)
      own.options.text.insert_or_assign(key, value);
    else
      own.options.text.erase(key);
  });
}

GLINT_C_API glint_status glint_session_get(glint_session* session, const char* key, char* text, size_t size,
                                           size_t* needed) {
  return guarded([&] {
    glint_session& own = object(session, "session");
    check_given(key, "key");
    const std::lock_guard lock(own.mutex);
    if (!own.options.text.contains(key)) own.engine->check_key(key);
    give_text(own.options.get(key), text, size, needed);
  });
}

GLINT_C_API glint_status glint_session_set_tensor(glint_session* session, const char* name,
                                                  const glint_tensor* tensor) {
  return guarded([&] {
    glint_session& own = object(session, "session");
    check_given(name, "name");
    const std::string key = name;
    GLINT_CHECK(std::find(kTensors.begin(), kTensors.end(), key) != kTensors.end(), InvalidArgument,
                "name: unknown tensor '{}'{}", key, glint::did_you_mean(key, kTensors));
    glint::Tensor copy;
    if (tensor) {
      const glint_tensor view = taken(tensor, "tensor");
      if (view.data) copy = copied(view, key);
    }
    const std::lock_guard lock(own.mutex);
    if (copy.defined())
      own.options.tensors[key] = std::move(copy);
    else
      own.options.tensors.erase(key);
  });
}

GLINT_C_API glint_status glint_session_add_strategy(glint_session* session,
                                                    const glint_step_strategy* strategy) {
  return guarded([&] {
    glint_session& own = object(session, "session");
    const auto made = strategy ? make_host_strategy(taken(strategy, "strategy")) : nullptr;
    decltype(own.options.strategies) ended;  // after the lock: the host's destroy may ask this session
    const std::lock_guard lock(own.mutex);
    if (made)
      own.options.strategies.push_back(made);
    else
      ended.swap(own.options.strategies);
  });
}

}  // extern "C"
