#include "capi/session.hpp"

#include <condition_variable>
#include <system_error>
#include <thread>

namespace glint::capi {
namespace {

/// One run, shared by its handle and its thread.
struct Run {
  std::shared_ptr<const Engine> engine;
  glint_job_config config;
  Work work;
  uint64_t seed = 0;
  std::atomic<bool> cancelled = false;
  std::atomic<std::thread::id> thread = {};  // the one that runs the job

  std::mutex mutex;
  std::condition_variable ended;
  Failure end = {.status = GLINT_PENDING};
  Outcome outcome = {};
};

/// Tells the host what a run does, and the run what the host answers.
class Teller final : public Observer {
 public:
  explicit Teller(Run& run) : run_(run) {}

  bool keep_going() override { return !run_.cancelled; }

  void on_stage(std::string_view name, int step, int steps) override {
    const std::string stage(name);
    glint_event event = made(stage.c_str(), step, steps);
    tell(event);
  }

  bool on_step(const StepEvent& step) override {
    glint_event event = made("denoise", step.step + 1, step.steps);
    Tensor denoised;
    std::optional<Picture> picture;
    const int32_t every = run_.config.preview_every;
    if (run_.config.on_event && every > 0 && (step.step + 1) % every == 0) {
      denoised = step.denoised().to(at::kCPU).contiguous();
      event.denoised = view_of(denoised);
      picture = run_.engine->preview(denoised);
      if (picture) {
        event.preview = picture->rgba.data();
        event.preview_width = picture->width;
        event.preview_height = picture->height;
      }
    }
    tell(event);
    return !run_.cancelled;
  }

 private:
  static glint_event made(const char* stage, int step, int steps) {
    glint_event event{};
    event.struct_size = sizeof event;
    event.denoised.struct_size = sizeof event.denoised;
    event.stage = stage;
    event.step = step;
    event.total = steps;
    return event;
  }

  void tell(const glint_event& event) {
    if (run_.config.on_event && run_.config.on_event(run_.config.user, &event) != GLINT_CONTINUE)
      run_.cancelled = true;
  }

  Run& run_;
};

/// Runs the job to its end, whatever happens.
void carry_out(Run& run) noexcept {
  const DefaultFloats floats;
  run.thread = std::this_thread::get_id();
  Outcome outcome;
  Failure end;
  try {
    if (run.cancelled) throw Refused(GLINT_CANCELLED, "the job was cancelled before it began");
    Teller teller(run);
    outcome = run.work(&teller);
  } catch (...) {
    end = failure_in_flight();
    // The host was asked for a cancelled run's message; all else is worth a line in its log.
    if (end.status != GLINT_CANCELLED) {
      try {
        run.engine->log(GLINT_LOG_ERROR, end.message);
      } catch (...) {  // a log that fails changes nothing about the job
      }
    }
  }
  run.work = nullptr;  // lets go of the host's strategies
  const std::lock_guard lock(run.mutex);
  run.outcome = std::move(outcome);
  run.end = std::move(end);
  run.thread = std::thread::id();
  run.ended.notify_all();
}

}  // namespace
}  // namespace glint::capi

struct glint_job : glint_handle {
  static constexpr uint64_t kMark = 0x676c696e746a6f62;
  std::shared_ptr<glint::capi::Run> run;
  std::thread thread;
  explicit glint_job(std::shared_ptr<glint::capi::Run> of) : glint_handle(kMark), run(std::move(of)) {}
};

namespace glint::capi {
namespace {

std::unique_ptr<glint_job> make_job(glint_session* session, const glint_job_config* config) {
  glint_session& own = object(session, "session");
  glint_job_config taken_config{};
  taken_config.struct_size = sizeof taken_config;
  if (config) taken_config = taken(config, "config");
  GLINT_CHECK(taken_config.preview_every >= 0, InvalidArgument,
              "config.preview_every: expected 0 or more, got {}", taken_config.preview_every);
  const Options options = snapshot(own);
  auto run = std::make_shared<Run>();
  run->engine = own.engine;
  run->config = taken_config;
  run->work = own.engine->prepare(options, taken_config.on_event && taken_config.preview_every > 0);
  run->seed = std::stoull(options.get("seed", "0"));
  return std::make_unique<glint_job>(std::move(run));
}

/// Calls `read` with the outcome of a job that ended well; else throws its status.
template <typename Read>
glint_status with_outcome(glint_job* job, Read read) {
  return guarded([&] {
    Run& run = *object(job, "job").run;
    const std::lock_guard lock(run.mutex);
    if (run.end.status == GLINT_PENDING) throw Refused(GLINT_PENDING, "the job has not ended");
    if (run.end.status != GLINT_OK) throw Refused(run.end.status, run.end.message);
    read(run);
  });
}

constexpr at::ScalarType kFloat32 = at::kFloat;

const Picture& picture_at(const Run& run, int32_t index) {
  const auto count = static_cast<int32_t>(run.outcome.pictures.size());
  GLINT_CHECK(index >= 0 && index < count, NotFound, "index: the job has {} pictures, got {}", count, index);
  return run.outcome.pictures[static_cast<size_t>(index)];
}

/// Returns how a job stands.
glint_status standing(const Run& run) {
  if (run.end.status != GLINT_OK && run.end.status != GLINT_PENDING) remember(run.end);
  return run.end.status;
}

}  // namespace
}  // namespace glint::capi

using namespace glint::capi;

extern "C" {

GLINT_C_API glint_status glint_job_start(glint_session* session, const glint_job_config* config,
                                         glint_job** job) {
  return guarded([&] {
    check_given(job, "job");
    *job = nullptr;
    std::unique_ptr<glint_job> made = make_job(session, config);
    made->thread = std::thread([run = made->run] { carry_out(*run); });
    *job = made.release();
  });
}

GLINT_C_API glint_status glint_job_run(glint_session* session, const glint_job_config* config,
                                       glint_job** job) {
  std::shared_ptr<Run> run;  // a callback may release the job
  const glint_status refused = guarded([&] {
    check_given(job, "job");
    *job = nullptr;
    std::unique_ptr<glint_job> made = make_job(session, config);
    run = made->run;
    *job = made.release();
  });
  if (refused != GLINT_OK) return refused;
  carry_out(*run);
  return standing(*run);
}

GLINT_C_API glint_status glint_job_retain(glint_job* job) { return retain(job, "job"); }

GLINT_C_API glint_status glint_job_release(glint_job* job) {
  return release(job, "job", [](glint_job& own) {
    own.run->cancelled = true;
    if (!own.thread.joinable()) return;
    // From its own callback a job cannot be waited for; its thread holds what it needs until it ends.
    if (own.thread.get_id() == std::this_thread::get_id())
      own.thread.detach();
    else
      own.thread.join();
  });
}

GLINT_C_API glint_status glint_job_poll(glint_job* job) {
  glint_status status = GLINT_OK;
  const glint_status refused = guarded([&] {
    Run& run = *object(job, "job").run;
    const std::lock_guard lock(run.mutex);
    status = standing(run);
  });
  return refused != GLINT_OK ? refused : status;
}

GLINT_C_API glint_status glint_job_wait(glint_job* job, int64_t milliseconds) {
  glint_status status = GLINT_OK;
  const glint_status refused = guarded([&] {
    Run& run = *object(job, "job").run;
    GLINT_CHECK(run.thread.load() != std::this_thread::get_id(), InvalidArgument,
                "job: a callback of the job cannot wait for it");
    GLINT_CHECK(milliseconds >= -1, InvalidArgument, "milliseconds: expected -1 or more, got {}",
                milliseconds);
    std::unique_lock lock(run.mutex);
    const auto over = [&] { return run.end.status != GLINT_PENDING; };
    constexpr int64_t kLongest = 1000LL * 3600 * 24 * 365;  // a year: more overflows the clock
    if (milliseconds < 0)
      run.ended.wait(lock, over);
    else
      run.ended.wait_for(lock, std::chrono::milliseconds((std::min)(milliseconds, kLongest)), over);
    status = standing(run);
  });
  return refused != GLINT_OK ? refused : status;
}

GLINT_C_API glint_status glint_job_cancel(glint_job* job) {
  return guarded([&] { object(job, "job").run->cancelled = true; });
}

GLINT_C_API glint_status glint_job_message(glint_job* job, char* text, size_t size, size_t* needed) {
  return guarded([&] {
    Run& run = *object(job, "job").run;
    const std::lock_guard lock(run.mutex);
    give_text(run.end.message, text, size, needed);
  });
}

GLINT_C_API glint_status glint_job_get_stats(glint_job* job, glint_job_stats* stats) {
  return with_outcome(job, [&](const Run& run) {
    taken(stats, "stats");
    const glint::SampleResult& sample = run.outcome.sample;
    stats->seed = run.seed;
    stats->calls = sample.usage.calls;
    stats->rows = sample.usage.rows;
    stats->seconds = sample.usage.seconds;
    stats->steps = sample.steps;
  });
}

GLINT_C_API glint_status glint_job_latent_sizes(glint_job* job, int64_t* sizes, int32_t capacity,
                                                int32_t* rank) {
  return with_outcome(job, [&](const Run& run) {
    check_given(rank, "rank");
    const auto own = run.outcome.sample.latents.sizes();
    *rank = static_cast<int32_t>(own.size());
    if (!sizes) return;
    if (capacity < *rank)
      throw Refused(GLINT_BUFFER_TOO_SMALL,
                    glint::message("sizes: {} are needed, got room for {}", *rank, capacity));
    std::copy(own.begin(), own.end(), sizes);
  });
}

GLINT_C_API glint_status glint_job_latents(glint_job* job, float* values, size_t count, size_t* needed) {
  return with_outcome(job, [&](const Run& run) {
    const glint::Tensor latents = run.outcome.sample.latents.to(kFloat32).contiguous();
    const auto size = static_cast<size_t>(latents.numel());
    if (needed) *needed = size;
    if (!values && needed && count == 0) return;
    check_given(values, "values");
    if (count < size)
      throw Refused(GLINT_BUFFER_TOO_SMALL,
                    glint::message("values: {} are needed, got room for {}", size, count));
    std::memcpy(values, latents.data_ptr<float>(), size * sizeof(float));
  });
}

GLINT_C_API glint_status glint_job_picture_size(glint_job* job, int32_t index, int32_t* width,
                                                int32_t* height) {
  return with_outcome(job, [&](const Run& run) {
    check_given(width, "width");
    check_given(height, "height");
    const Picture& picture = picture_at(run, index);
    *width = picture.width;
    *height = picture.height;
  });
}

GLINT_C_API glint_status glint_job_picture(glint_job* job, int32_t index, uint8_t* rgba, size_t row_stride,
                                           size_t size) {
  return with_outcome(job, [&](const Run& run) {
    check_given(rgba, "rgba");
    const Picture& picture = picture_at(run, index);
    const size_t row = static_cast<size_t>(picture.width) * 4, rows = static_cast<size_t>(picture.height);
    GLINT_CHECK(row_stride >= row && row_stride < (size_t{1} << 40), InvalidArgument,
                "row_stride: expected at least {} bytes, got {}", row, row_stride);
    const size_t whole = (rows - 1) * row_stride + row;
    if (size < whole)
      throw Refused(GLINT_BUFFER_TOO_SMALL, glint::message("rgba: {} bytes are needed, got {}", whole, size));
    for (size_t y = 0; y < rows; ++y) std::memcpy(rgba + y * row_stride, picture.rgba.data() + y * row, row);
  });
}

}  // extern "C"
