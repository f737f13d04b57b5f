// Progress on stderr (a live bar on a terminal, plain lines elsewhere) and Ctrl-C handling.
#pragma once

#include <glint/sampling/observer.hpp>

#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>

namespace glint::cli {

/// While alive, the first Ctrl-C asks the run to stop and a second ends the program.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  static bool interrupted();

 private:
  void (*before_)(int);
};

/// Stops a run after Ctrl-C; for runs with a progress report of their own.
class Interruptible final : public Observer {
 public:
  bool keep_going() override { return !InterruptGuard::interrupted(); }
};

/// Writes to stderr and ignores failures: a full disk under a log must not lose a run.
template <typename... T>
void say(fmt::format_string<T...> text, T&&... values) {
  std::fputs(fmt::format(text, std::forward<T>(values)...).c_str(), stderr);
  std::fflush(stderr);
}

/// Shows progress unless quiet, and stops the run after Ctrl-C.
class Progress final : public Observer {
 public:
  explicit Progress(bool quiet);

  /// Labels the following steps.
  void begin(std::string_view label);

  /// Clears the bar.
  void end();

  bool keep_going() override { return !InterruptGuard::interrupted(); }
  void on_stage(std::string_view name, int step, int steps) override;
  bool on_step(const StepEvent& event) override;

 private:
  void draw(const StepEvent& event, double seconds);

  bool quiet_, terminal_;
  std::string label_;
  std::chrono::steady_clock::time_point start_{}, drawn_{};
  int reported_ = 0, batch_ = 0;
};

}  // namespace glint::cli
