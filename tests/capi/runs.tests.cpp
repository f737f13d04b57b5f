// Runs through the C interface: the same latents however they are asked for, cancelled at any time, from any
// thread.
#include "tests/capi/host.hpp"
#include "tests/support/catch.hpp"

#include <algorithm>
#include <cfenv>
#include <cmath>
#include <fstream>
#include <optional>
#include <random>
#include <utility>

namespace glint {
namespace {

using test::Host;
using test::Network;

TEST_CASE("A job on its own thread gives the latents of one on this thread, and counts its cost", "[capi]") {
  Network network;
  const Host host(network);
  REQUIRE(glint_session_set(host.session, "guidance", "3") == GLINT_OK);
  REQUIRE(glint_session_set(host.session, "with", "z-sampling:merge=0.5") == GLINT_OK);
  float values[] = {0.7f, -0.2f};  // prompts with the same tokens would be evaluated once
  const int64_t token_sizes[] = {1, 1, 1};
  for (const auto& [name, value] : {std::pair{"tokens", &values[0]}, {"null_tokens", &values[1]}}) {
    glint_tensor tokens = GLINT_INIT(glint_tensor);
    tokens.data = value;
    tokens.dtype = GLINT_FLOAT32;
    tokens.rank = 3;
    tokens.sizes = token_sizes;
    REQUIRE(glint_session_set_tensor(host.session, name, &tokens) == GLINT_OK);
  }
  const std::vector<float> here = host.run();
  REQUIRE(here.size() == 4 * 8 * 8);
  CHECK(std::all_of(here.begin(), here.end(), [](float v) { return std::isfinite(v); }));

  glint_job* job = nullptr;
  REQUIRE(glint_job_start(host.session, nullptr, &job) == GLINT_OK);
  REQUIRE(glint_job_wait(job, -1) == GLINT_OK);
  CHECK(Host::latents_of(job) == here);
  glint_job_stats stats = GLINT_INIT(glint_job_stats);
  REQUIRE(glint_job_get_stats(job, &stats) == GLINT_OK);
  CHECK(stats.steps == 6);
  CHECK(stats.rows == 6 * 2 + 5 * (2 + 1));  // the last step is not reflected; scale 0 inverts with one row
  CHECK(stats.calls == network.calls / 2);
  CHECK(stats.seed == 0);
  int64_t sizes[4] = {};
  int32_t rank = 0;
  REQUIRE(glint_job_latent_sizes(job, sizes, 4, &rank) == GLINT_OK);
  CHECK(std::vector<int64_t>(sizes, sizes + rank) == std::vector<int64_t>{1, 4, 8, 8});
  CHECK(glint_job_release(job) == GLINT_OK);
}

TEST_CASE("Seed, count, noise and size decide the latents", "[capi]") {
  Network network;
  const Host host(network);
  const std::vector<float> plain = host.run();
  REQUIRE(glint_session_set(host.session, "seed", "1") == GLINT_OK);
  const std::vector<float> other = host.run();
  CHECK(other != plain);
  // Sample 1 of a batch from seed 0 is the sample of seed 1.
  REQUIRE(glint_session_set(host.session, "seed", nullptr) == GLINT_OK);
  REQUIRE(glint_session_set(host.session, "count", "2") == GLINT_OK);
  const std::vector<float> both = host.run();
  REQUIRE(both.size() == 2 * plain.size());
  CHECK(std::vector<float>(both.begin(), both.begin() + 256) == plain);
  CHECK(std::vector<float>(both.begin() + 256, both.end()) == other);

  std::vector<float> zeros(256);
  const int64_t sizes[] = {1, 4, 8, 8};
  glint_tensor noise = GLINT_INIT(glint_tensor);
  noise.data = zeros.data();
  noise.dtype = GLINT_FLOAT32;
  noise.rank = 4;
  noise.sizes = sizes;
  REQUIRE(glint_session_set_tensor(host.session, "noise", &noise) == GLINT_OK);
  std::fill(zeros.begin(), zeros.end(), 9.0f);  // the session has its own copy
  CHECK(host.run() == std::vector<float>(256));
  REQUIRE(glint_session_set_tensor(host.session, "noise", nullptr) == GLINT_OK);
  CHECK(host.run() == both);
}

TEST_CASE("A model is shown the session's tokens and takes both kinds of noise", "[capi]") {
  for (const glint_noise_kind kind : {GLINT_FLOW, GLINT_VP}) {
    Network network;
    const Host host(network, kind);
    const float value = 0.7f;
    const int64_t sizes[] = {1, 1, 1};
    glint_tensor tokens = GLINT_INIT(glint_tensor);
    tokens.data = const_cast<float*>(&value);
    tokens.dtype = GLINT_FLOAT32;
    tokens.rank = 3;
    tokens.sizes = sizes;
    REQUIRE(glint_session_set_tensor(host.session, "tokens", &tokens) == GLINT_OK);
    CHECK(host.run().size() == 256);
    CHECK(network.token == value);
    CHECK(network.branches == 1);
    CHECK(network.calls == 6);
  }
}

struct Told {
  std::vector<std::string> stages = {};
  int previews = 0;
  int cancel_at = -1;
  int events = 0;
  bool throws = false;

  static glint_next on_event(void* user, const glint_event* event) {
    auto& own = *static_cast<Told*>(user);
    if (own.throws) throw std::string("no");
    own.stages.emplace_back(event->stage + (" " + std::to_string(event->step)) + "/" +
                            std::to_string(event->total));
    own.previews += event->denoised.data != nullptr;
    return own.events++ == own.cancel_at ? GLINT_CANCEL : GLINT_CONTINUE;
  }
  glint_job_config config() {
    glint_job_config config = GLINT_INIT(glint_job_config);
    config.on_event = on_event;
    config.user = this;
    return config;
  }
};

TEST_CASE("Events come at every stage and step, with the estimate when it is asked for", "[capi]") {
  Network network;
  const Host host(network);
  Told told;
  glint_job_config config = told.config();
  config.preview_every = 2;
  glint_job* job = nullptr;
  REQUIRE(glint_job_run(host.session, &config, &job) == GLINT_OK);
  glint_job_release(job);
  CHECK(told.stages == std::vector<std::string>{"denoise 0/6", "denoise 1/6", "denoise 2/6", "denoise 3/6",
                                                "denoise 4/6", "denoise 5/6", "denoise 6/6"});
  CHECK(told.previews == 3);
}

TEST_CASE("A callback that cancels ends the job at once, one that throws fails it; the session stays usable",
          "[capi]") {
  Network network;
  const Host host(network);
  const std::vector<float> plain = host.run();
  for (int at : {0, 1, 5}) {
    Told told{.cancel_at = at};
    const glint_job_config config = told.config();
    glint_job* job = nullptr;
    network.calls = 0;
    CHECK(glint_job_run(host.session, &config, &job) == GLINT_CANCELLED);
    CHECK(network.calls == at);
    CHECK(glint_job_poll(job) == GLINT_CANCELLED);
    float one = 0;
    CHECK(glint_job_latents(job, &one, 1, nullptr) == GLINT_CANCELLED);
    glint_job_release(job);
  }
  Told told{.throws = true};
  const glint_job_config config = told.config();
  glint_job* job = nullptr;
  CHECK(glint_job_run(host.session, &config, &job) == GLINT_INTERNAL);
  glint_job_release(job);
  network.throws = true;
  CHECK(glint_job_run(host.session, nullptr, &job) == GLINT_INTERNAL);
  glint_job_release(job);
  network.throws = false;
  network.answer = 3;
  CHECK(glint_job_run(host.session, nullptr, &job) == GLINT_INTERNAL);
  CHECK(test::last_error() == "model 'host': predict returned 3, 0 is success");
  char text[100] = "";
  CHECK(glint_job_message(job, text, sizeof text, nullptr) == GLINT_OK);
  CHECK(text == test::last_error());
  glint_job_release(job);
  network.answer = 0;
  CHECK(host.run() == plain);
}

TEST_CASE("A strategy of the host changes a step's latents", "[capi]") {
  Network network;
  const Host host(network);
  const std::vector<float> plain = host.run();
  struct Halving {
    int refined = 0, destroyed = 0;
  } halving;
  glint_step_strategy strategy = GLINT_INIT(glint_step_strategy);
  strategy.name = "halving";
  strategy.user = &halving;
  strategy.active = [](void*, int32_t step, int32_t) -> int32_t { return step == 2; };
  strategy.refine = [](void* user, const glint_tensor* x, double, double sigma, int32_t, int32_t) -> int32_t {
    ++static_cast<Halving*>(user)->refined;
    if (!(sigma > 0.0)) return 1;
    for (int i = 0; i < 256; ++i) static_cast<float*>(x->data)[i] *= 0.5f;
    return 0;
  };
  strategy.destroy = [](void* user) { ++static_cast<Halving*>(user)->destroyed; };
  REQUIRE(glint_session_add_strategy(host.session, &strategy) == GLINT_OK);
  CHECK(host.run() != plain);
  CHECK(halving.refined == 1);
  CHECK(halving.destroyed == 0);
  REQUIRE(glint_session_add_strategy(host.session, nullptr) == GLINT_OK);
  CHECK(halving.destroyed == 1);
  CHECK(host.run() == plain);
}

TEST_CASE("Objects may be released in any order, and a running job is cancelled by its last release",
          "[capi]") {
  Network network;
  network.nap = std::chrono::milliseconds(2);
  {
    Host host(network);
    glint_job* job = nullptr;
    REQUIRE(glint_session_set(host.session, "steps", "1000") == GLINT_OK);
    REQUIRE(glint_job_start(host.session, nullptr, &job) == GLINT_OK);
    CHECK(glint_engine_release(std::exchange(host.engine, nullptr)) == GLINT_OK);
    CHECK(glint_session_release(std::exchange(host.session, nullptr)) == GLINT_OK);
    CHECK(glint_job_poll(job) == GLINT_PENDING);
    CHECK(glint_job_wait(job, 0) == GLINT_PENDING);
    CHECK(network.destroyed == 0);
    CHECK(glint_job_retain(job) == GLINT_OK);
    CHECK(glint_job_release(job) == GLINT_OK);
    CHECK(glint_job_poll(job) == GLINT_PENDING);
    CHECK(glint_job_release(job) == GLINT_OK);
  }
  CHECK(network.destroyed == 1);
  CHECK(network.calls < 1000);
}

/// Resident memory in bytes. Nothing where it is not known, or where a sanitizer keeps what was freed.
std::optional<int64_t> resident_bytes() {
#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  int64_t whole = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> whole >> resident;
  return resident * 4096;
#else
  return std::nullopt;
#endif
}

TEST_CASE(
    "A thousand engines, jobs cancelled at random points, from another thread: none is lost, none hangs",
    "[capi]") {
  Network network;
  std::mt19937 random(5);
  int finished = 0, cancelled = 0;
  std::optional<int64_t> before;
  for (int i = 0; i < 1000; ++i) {
    if (i == 100) before = resident_bytes();
    Host host(network);
    glint_job* job = nullptr;
    REQUIRE(glint_session_set(host.session, "steps", "12") == GLINT_OK);
    REQUIRE(glint_job_start(host.session, nullptr, &job) == GLINT_OK);
    const auto end_of_wait = std::chrono::steady_clock::now() + std::chrono::microseconds(random() % 300);
    while (std::chrono::steady_clock::now() < end_of_wait) {  // a thread that yields may wait far longer
    }
    REQUIRE(glint_job_cancel(job) == GLINT_OK);
    const glint_status end = glint_job_wait(job, -1);
    REQUIRE((end == GLINT_OK || end == GLINT_CANCELLED));
    (end == GLINT_OK ? finished : cancelled) += 1;
    REQUIRE(glint_job_release(job) == GLINT_OK);
  }
  CHECK(finished + cancelled == 1000);
  CHECK(network.destroyed == 1000);
  if (before) CHECK(*resident_bytes() - *before < (int64_t{5} << 20));
}

#ifdef __GLIBC__
TEST_CASE("The host's floating-point state changes no latents, and stays as it was", "[capi]") {
  Network network;
  const Host host(network);
  REQUIRE(glint_session_set(host.session, "solver", "dpmpp-2m-sde") == GLINT_OK);
  const std::vector<float> plain = host.run();
  REQUIRE(plain.size() == 256);
  std::fenv_t usual;
  std::fegetenv(&usual);
  constexpr unsigned kFlushes = 0x8040;  // of MXCSR: results and operands that are denormal become zero
  for (const int rounding : {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) {
    std::fenv_t odd = usual;
#ifdef __x86_64__
    odd.__mxcsr |= kFlushes;
#endif
    std::fesetenv(&odd);
    std::fesetround(rounding);
    feenableexcept(FE_DIVBYZERO | FE_INVALID | FE_OVERFLOW);  // a host that wants to be ended by them
    const std::vector<float> here = host.run();
    std::vector<float> there;
    glint_job* job = nullptr;
    if (glint_job_start(host.session, nullptr, &job) == GLINT_OK && glint_job_wait(job, -1) == GLINT_OK)
      there = Host::latents_of(job);
    glint_job_release(job);
    std::fenv_t after;
    std::fegetenv(&after);
    const int rounds = std::fegetround(), traps = fegetexcept();
    std::fesetenv(&usual);
    CHECK(here == plain);
    CHECK(there == plain);
    CHECK(rounds == rounding);
    CHECK(traps == (FE_DIVBYZERO | FE_INVALID | FE_OVERFLOW));
#ifdef __x86_64__
    CHECK((after.__mxcsr & kFlushes) == kFlushes);
#endif
  }
}
#endif

TEST_CASE("A job is cancelled within one model call", "[capi]") {
  Network network;
  network.nap = std::chrono::milliseconds(5);
  const Host host(network);
  glint_job* job = nullptr;
  REQUIRE(glint_session_set(host.session, "steps", "100") == GLINT_OK);
  REQUIRE(glint_job_start(host.session, nullptr, &job) == GLINT_OK);
  while (network.calls < 3) std::this_thread::yield();
  REQUIRE(glint_job_cancel(job) == GLINT_OK);
  const int calls = network.calls;
  CHECK(glint_job_wait(job, -1) == GLINT_CANCELLED);
  CHECK(network.calls <= calls + 1);  // one may begin between the reading and the cancelling
  glint_job_release(job);
}

TEST_CASE("Two sessions of one engine at once give the latents they give alone", "[capi]") {
  Network network;
  const Host host(network);
  glint_session* second = nullptr;
  REQUIRE(glint_session_create(host.engine, &second) == GLINT_OK);
  REQUIRE(glint_session_set(second, "seed", "9") == GLINT_OK);
  REQUIRE(glint_session_set(second, "solver", "dpmpp-2m-sde") == GLINT_OK);
  const auto of = [](glint_session* session) {
    glint_job* job = nullptr;
    glint_job_run(session, nullptr, &job);
    const std::vector<float> latents = Host::latents_of(job);
    glint_job_release(job);
    return latents;
  };
  const std::vector<float> a = of(host.session), b = of(second);
  for (int round = 0; round < 5; ++round) {
    glint_job *one = nullptr, *two = nullptr;
    REQUIRE(glint_job_start(host.session, nullptr, &one) == GLINT_OK);
    REQUIRE(glint_job_start(second, nullptr, &two) == GLINT_OK);
    CHECK(glint_job_wait(two, -1) == GLINT_OK);
    CHECK(glint_job_wait(one, -1) == GLINT_OK);
    CHECK(Host::latents_of(one) == a);
    CHECK(Host::latents_of(two) == b);
    glint_job_release(one);
    glint_job_release(two);
  }
  glint_session_release(second);
}

}  // namespace
}  // namespace glint
