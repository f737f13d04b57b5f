// Misuse of the C interface: each mistake returns its documented status and says what was wrong.
#include "tests/capi/host.hpp"
#include "tests/support/catch.hpp"

#include <limits>

namespace glint {
namespace {

using test::Host;
using test::last_error;
using test::Network;

TEST_CASE("Null is refused by name everywhere, and may be released", "[capi]") {
  Network network;
  const Host host(network);
  glint_job* job = nullptr;
  glint_engine* engine = nullptr;
  glint_session* session = nullptr;
  size_t needed = 0;
  int32_t number = 0;
  char text[8];
  CHECK(glint_engine_create(nullptr, &engine) == GLINT_INVALID_ARGUMENT);
  CHECK(last_error() == "config: expected a struct, got null");
  const glint_engine_config config = GLINT_INIT(glint_engine_config);
  CHECK(glint_engine_create(&config, nullptr) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_engine_create(&config, &engine) == GLINT_INVALID_ARGUMENT);
  CHECK(last_error() == "config: expected a bundle or a model, got neither");
  CHECK(glint_engine_retain(nullptr) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_session_create(nullptr, &session) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_session_create(host.engine, nullptr) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_session_retain(nullptr) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_session_set(nullptr, "steps", "3") == GLINT_INVALID_ARGUMENT);
  CHECK(last_error() == "session: expected a pointer, got null");
  CHECK(glint_session_set(host.session, nullptr, "3") == GLINT_INVALID_ARGUMENT);
  CHECK(glint_session_get(host.session, nullptr, text, sizeof text, nullptr) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_session_get(host.session, "steps", nullptr, 4, nullptr) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_session_set_tensor(host.session, nullptr, nullptr) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_session_add_strategy(nullptr, nullptr) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_job_start(nullptr, nullptr, &job) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_job_start(host.session, nullptr, nullptr) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_job_run(host.session, nullptr, nullptr) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_job_retain(nullptr) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_job_poll(nullptr) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_job_wait(nullptr, 0) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_job_cancel(nullptr) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_job_message(nullptr, text, sizeof text, &needed) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_job_get_stats(nullptr, nullptr) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_job_latents(nullptr, nullptr, 0, &needed) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_job_latent_sizes(nullptr, nullptr, 0, &number) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_job_picture(nullptr, 0, nullptr, 0, 0) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_job_picture_size(nullptr, 0, &number, &number) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_engine_release(nullptr) == GLINT_OK);
  CHECK(glint_session_release(nullptr) == GLINT_OK);
  CHECK(glint_job_release(nullptr) == GLINT_OK);
  // A handle of another kind is no session.
  CHECK(glint_session_set(reinterpret_cast<glint_session*>(host.engine), "steps", "3") ==
        GLINT_INVALID_ARGUMENT);
}

TEST_CASE("A struct of the wrong size or from a newer header is refused; one that only grew is taken",
          "[capi]") {
  Network network;
  const glint_model model = test::model_of(network);
  struct {
    glint_engine_config config;
    char added[16];
  } grown{};
  grown.config = GLINT_INIT(glint_engine_config);
  grown.config.model = &model;
  glint_engine* engine = nullptr;
  for (size_t size : {size_t{0}, size_t{8}, sizeof(glint_engine_config) - 1, size_t{1} << 40}) {
    grown.config.struct_size = size;
    CHECK(glint_engine_create(&grown.config, &engine) == GLINT_INVALID_ARGUMENT);
    CHECK(engine == nullptr);
  }
  grown.config.struct_size = sizeof grown;
  REQUIRE(glint_engine_create(&grown.config, &engine) == GLINT_OK);
  CHECK(glint_engine_release(engine) == GLINT_OK);
  grown.added[15] = 1;
  CHECK(glint_engine_create(&grown.config, &engine) == GLINT_UNSUPPORTED);
  CHECK(engine == nullptr);
}

TEST_CASE("Options that do not exist or cannot be are refused, and the session keeps what it had", "[capi]") {
  Network network;
  const Host host(network);
  const std::vector<float> plain = host.run();
  const std::pair<const char*, const char*> kBad[] = {
      {"step", "3"},       {"steps", "0"},          {"steps", "2.5"},          {"steps", "many"},
      {"steps", ""},       {"seed", "-1"},          {"seed", "1e3"},           {"count", "0"},
      {"guidance", "nan"}, {"solver", "eular"},     {"solver", "euler:eta=1"}, {"schedule", "rho=-1"},
      {"schedule", "rho"}, {"with", "z-samplin"},   {"with", "apg:eta=none"},  {"adapters", "style"},
      {"size", "4,0,8"},   {"prompt", "a red star"}};
  for (const auto& [key, value] : kBad) {
    CAPTURE(key, value);
    CHECK(glint_session_set(host.session, key, value) == GLINT_INVALID_ARGUMENT);
    CHECK(last_error() != "");
  }
  CHECK(glint_session_set(host.session, "step", "3") == GLINT_INVALID_ARGUMENT);
  CHECK(last_error() == "key: unknown option 'step'; did you mean 'steps'?");
  CHECK(host.run() == plain);
  // What only the whole request shows is refused when it starts.
  glint_job* job = nullptr;
  REQUIRE(glint_session_set(host.session, "adapters", "style=0.5") == GLINT_OK);
  CHECK(glint_job_start(host.session, nullptr, &job) == GLINT_INVALID_ARGUMENT);
  CHECK(job == nullptr);
  CHECK(last_error() == "adapters: model 'host' has no adapter 'style'");
  REQUIRE(glint_session_set(host.session, "adapters", nullptr) == GLINT_OK);
  REQUIRE(glint_session_set(host.session, "with", "apg;mambo-g") == GLINT_OK);
  CHECK(glint_job_run(host.session, nullptr, &job) == GLINT_INVALID_ARGUMENT);
}

TEST_CASE("A buffer too small is told with the size that is needed, and not written to", "[capi]") {
  Network network;
  const Host host(network);
  size_t needed = 0;
  char text[3] = "xy";
  REQUIRE(glint_session_set(host.session, "solver", "unipc") == GLINT_OK);
  CHECK(glint_session_get(host.session, "solver", text, sizeof text, &needed) == GLINT_BUFFER_TOO_SMALL);
  CHECK(needed == 6);
  CHECK(std::string(text) == "xy");
  char room[6];
  CHECK(glint_session_get(host.session, "solver", room, sizeof room, nullptr) == GLINT_OK);
  CHECK(std::string(room) == "unipc");

  glint_job* job = nullptr;
  REQUIRE(glint_job_run(host.session, nullptr, &job) == GLINT_OK);
  std::vector<float> values(255, -1.0f);
  CHECK(glint_job_latents(job, values.data(), values.size(), &needed) == GLINT_BUFFER_TOO_SMALL);
  CHECK(needed == 256);
  CHECK(values == std::vector<float>(255, -1.0f));
  int64_t sizes[3] = {};
  int32_t rank = 0;
  CHECK(glint_job_latent_sizes(job, sizes, 3, &rank) == GLINT_BUFFER_TOO_SMALL);
  CHECK(rank == 4);
  int32_t width = 0, height = 0;
  CHECK(glint_job_picture_size(job, 0, &width, &height) == GLINT_NOT_FOUND);
  glint_job_stats stats{};
  CHECK(glint_job_get_stats(job, &stats) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_job_wait(job, -2) == GLINT_INVALID_ARGUMENT);
  glint_job_release(job);
}

TEST_CASE("Tensors that cannot be are refused", "[capi]") {
  Network network;
  const Host host(network);
  std::vector<float> data(512);
  const auto refused = [&](glint_dtype dtype, std::vector<int64_t> sizes, const char* name = "noise") {
    glint_tensor tensor = GLINT_INIT(glint_tensor);
    tensor.data = data.data();
    tensor.dtype = dtype;
    tensor.rank = static_cast<int32_t>(sizes.size());
    tensor.sizes = sizes.data();
    return glint_session_set_tensor(host.session, name, &tensor);
  };
  CHECK(refused(static_cast<glint_dtype>(9), {1, 4, 8, 8}) == GLINT_UNSUPPORTED_DTYPE);
  CHECK(refused(GLINT_FLOAT32, {}) == GLINT_SHAPE_MISMATCH);
  CHECK(refused(GLINT_FLOAT32, {1, 0, 8}) == GLINT_SHAPE_MISMATCH);
  CHECK(refused(GLINT_FLOAT32, {1, -4, 8}) == GLINT_SHAPE_MISMATCH);
  CHECK(refused(GLINT_FLOAT32, {std::numeric_limits<int64_t>::max(), 4}) == GLINT_SHAPE_MISMATCH);
  CHECK(refused(GLINT_FLOAT32, {1, 1, 1}, "token") == GLINT_INVALID_ARGUMENT);
  CHECK(last_error() == "name: unknown tensor 'token'; did you mean 'tokens'?");
  // A shape that no model could have is refused at once, one that this model has not by the run.
  REQUIRE(refused(GLINT_FLOAT32, {1, 2, 8, 8}) == GLINT_OK);
  glint_job* job = nullptr;
  CHECK(glint_job_run(host.session, nullptr, &job) == GLINT_SHAPE_MISMATCH);
  glint_job_release(job);
}

TEST_CASE("A model that cannot be is refused, and its data stay the caller's", "[capi]") {
  Network network;
  const auto refused = [&](auto change) {
    glint_model model = test::model_of(network);
    change(model);
    glint_engine_config config = GLINT_INIT(glint_engine_config);
    config.model = &model;
    glint_engine* engine = nullptr;
    const glint_status status = glint_engine_create(&config, &engine);
    CHECK(engine == nullptr);
    return status;
  };
  CHECK(refused([](glint_model& m) { m.predict = nullptr; }) == GLINT_INVALID_ARGUMENT);
  CHECK(refused([](glint_model& m) { m.prediction = static_cast<glint_prediction>(0); }) ==
        GLINT_INVALID_ARGUMENT);
  CHECK(refused([](glint_model& m) { m.noise_kind = static_cast<glint_noise_kind>(5); }) ==
        GLINT_INVALID_ARGUMENT);
  CHECK(refused([](glint_model& m) { m.latent_sizes = nullptr; }) == GLINT_INVALID_ARGUMENT);
  CHECK(refused([](glint_model& m) { m.latent_rank = -1; }) == GLINT_INVALID_ARGUMENT);
  CHECK(refused([](glint_model& m) { m.shift = -2.0; }) == GLINT_INVALID_ARGUMENT);
  CHECK(refused([](glint_model& m) { m.struct_size = 4; }) == GLINT_INVALID_ARGUMENT);
  CHECK(network.destroyed == 0);
}

TEST_CASE("A job cannot be waited for from its own callback, but may be asked, cancelled and released there",
          "[capi]") {
  Network network;
  network.nap = std::chrono::milliseconds(1);
  const Host host(network);
  REQUIRE(glint_session_set(host.session, "steps", "50") == GLINT_OK);
  struct Inside {
    std::atomic<glint_job*> job = nullptr;
    std::atomic<int> wait = -1, poll = -1, cancel = -1;
  } inside;
  glint_job_config config = GLINT_INIT(glint_job_config);
  config.user = &inside;
  config.on_event = [](void* user, const glint_event*) {
    auto& own = *static_cast<Inside*>(user);
    if (glint_job* job = own.job) {
      own.wait = glint_job_wait(job, -1);
      own.poll = glint_job_poll(job);
      own.cancel = glint_job_cancel(job);
    }
    return GLINT_CONTINUE;
  };
  glint_job* job = nullptr;
  REQUIRE(glint_job_start(host.session, &config, &job) == GLINT_OK);
  inside.job = job;
  CHECK(glint_job_wait(job, -1) == GLINT_CANCELLED);
  CHECK(inside.wait == GLINT_INVALID_ARGUMENT);
  CHECK(inside.poll == GLINT_PENDING);
  CHECK(inside.cancel == GLINT_OK);
  glint_job_release(job);
}

TEST_CASE("A job may be released by its own callback, which cancels it", "[capi]") {
  Network network;
  const Host host(network);
  REQUIRE(glint_session_set(host.session, "steps", "200") == GLINT_OK);
  struct Releasing {
    std::atomic<glint_job*> job = nullptr;
    std::atomic<int> released = -1;
    static glint_next on_event(void* user, const glint_event* event) {
      auto& own = *static_cast<Releasing*>(user);
      if (event->step != 3) return GLINT_CONTINUE;
      while (!own.job) std::this_thread::yield();  // the thread that starts the job tells it
      own.released = glint_job_release(own.job);
      return GLINT_CONTINUE;
    }
  } here, there;
  glint_job_config config = GLINT_INIT(glint_job_config);
  glint_job* job = nullptr;
  struct Synchronous {
    Releasing* releasing;
    glint_job** job;
  } synchronous{&here, &job};
  config.user = &synchronous;
  config.on_event = [](void* user, const glint_event* event) {
    const auto& own = *static_cast<Synchronous*>(user);
    if (event->step == 3) own.releasing->job = *own.job;
    return Releasing::on_event(own.releasing, event);
  };
  CHECK(glint_job_run(host.session, &config, &job) == GLINT_CANCELLED);
  CHECK(here.released == GLINT_OK);
  CHECK(network.calls == 3);

  config.user = &there;
  config.on_event = Releasing::on_event;
  REQUIRE(glint_job_start(host.session, &config, &job) == GLINT_OK);
  there.job = job;
  while (there.released == -1) std::this_thread::yield();
  CHECK(there.released == GLINT_OK);
}

TEST_CASE("What a host's destroy throws goes no further", "[capi]") {
  Network network;
  glint_model model = test::model_of(network);
  model.destroy = [](void* user) {
    Network::destroy(user);
    throw std::string("no");
  };
  glint_engine_config config = GLINT_INIT(glint_engine_config);
  config.model = &model;
  glint_engine* engine = nullptr;
  glint_session* session = nullptr;
  REQUIRE(glint_engine_create(&config, &engine) == GLINT_OK);
  REQUIRE(glint_session_create(engine, &session) == GLINT_OK);
  glint_step_strategy strategy = GLINT_INIT(glint_step_strategy);
  strategy.name = "throwing";
  strategy.refine = [](void*, const glint_tensor*, double, double, int32_t, int32_t) -> int32_t { return 0; };
  strategy.user = &network;
  strategy.destroy = model.destroy;
  REQUIRE(glint_session_add_strategy(session, &strategy) == GLINT_OK);
  CHECK(glint_session_release(session) == GLINT_OK);
  CHECK(network.destroyed == 1);
  CHECK(glint_engine_release(engine) == GLINT_OK);
  CHECK(network.destroyed == 2);
}

TEST_CASE("Callbacks may use the session they are called for", "[capi]") {
  Network network;
  const Host host(network);
  const std::vector<float> plain = host.run();
  struct Inside {
    const Host* host;
    std::vector<float> latents = {};
    int get = -1, set = -1;
  } inside{&host};
  glint_job_config config = GLINT_INIT(glint_job_config);
  config.user = &inside;
  config.on_event = [](void* user, const glint_event* event) {
    auto& own = *static_cast<Inside*>(user);
    char text[8] = "";
    own.get = glint_session_get(own.host->session, "steps", text, sizeof text, nullptr);
    own.set = glint_session_set(own.host->session, "steps", text);
    if (event->step == 2) own.latents = own.host->run();  // a job within a job
    return GLINT_CONTINUE;
  };
  glint_job* job = nullptr;
  REQUIRE(glint_job_run(host.session, &config, &job) == GLINT_OK);
  CHECK(Host::latents_of(job) == plain);
  CHECK(inside.latents == plain);
  CHECK(inside.get == GLINT_OK);
  CHECK(inside.set == GLINT_OK);
  glint_job_release(job);

  glint_step_strategy strategy = GLINT_INIT(glint_step_strategy);
  strategy.name = "asking";
  strategy.refine = [](void*, const glint_tensor*, double, double, int32_t, int32_t) -> int32_t { return 0; };
  strategy.user = &inside;
  strategy.destroy = [](void* user) {
    auto& own = *static_cast<Inside*>(user);
    own.get = 100 + glint_session_get(own.host->session, "steps", nullptr, 0, nullptr);
  };
  REQUIRE(glint_session_add_strategy(host.session, &strategy) == GLINT_OK);
  REQUIRE(glint_session_add_strategy(host.session, nullptr) == GLINT_OK);
  CHECK(inside.get == 100 + GLINT_INVALID_ARGUMENT);  // no buffer, and no deadlock
}

TEST_CASE("Messages are UTF-8, whatever they quote and wherever they are cut", "[capi]") {
  Network network;
  const Host host(network);
  // Bytes that no character has, halves of characters, overlong forms and surrogates; then whole characters.
  for (const auto& [quoted, told] : {std::pair<std::string, std::string>{"st\xff", R"(st\xff)"},
                                     {"\xc3", R"(\xc3)"},
                                     {"\xc0\xaf", R"(\xc0\xaf)"},
                                     {"\xed\xa0\x80", R"(\xed\xa0\x80)"},
                                     {"\xf4\x90\x80\x80", R"(\xf4\x90\x80\x80)"},
                                     {"\xe2\x82", R"(\xe2\x82)"},
                                     {"\xc3\xa4", "\xc3\xa4"},
                                     {"\xe2\x82\xac", "\xe2\x82\xac"},
                                     {"\xf0\x9f\x8e\x88", "\xf0\x9f\x8e\x88"}}) {
    CHECK(glint_session_set(host.session, quoted.c_str(), "3") == GLINT_INVALID_ARGUMENT);
    CHECK(last_error().starts_with("key: unknown option '" + told + "'"));
  }
  for (const char* filling : {"", "a"}) {
    std::string key = filling;
    for (int i = 0; i < 600; ++i) key += "\xc3\xa4";
    CHECK(glint_session_set(host.session, key.c_str(), "3") == GLINT_INVALID_ARGUMENT);
    CHECK(last_error().size() >= 1022);
    CHECK(last_error().ends_with("\xc3\xa4"));
  }
}

TEST_CASE("Every status has a name, and the versions are those of the header", "[capi]") {
  CHECK(glint_c_version() == GLINT_C_VERSION);
  CHECK(std::string(glint_version_string()).size() >= 5);
  for (int status : {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 100, 101, 102})
    CHECK(std::string(glint_status_name(static_cast<glint_status>(status))) != "unknown status");
  CHECK(std::string(glint_status_name(static_cast<glint_status>(55))) == "unknown status");
}

}  // namespace
}  // namespace glint
