// What the program prints: a standard output of its own, text that is safe to show, and what the terminal
// can.
#pragma once

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace glint::cli {

/// Takes standard output for the program alone: what anything else prints there, such as a network's print(),
/// goes to standard error. A pipe that is closed becomes an error instead of a signal. Called once, first.
void own_standard_output();

/// Does the same where the program has been at it already: `descriptor` is its standard_output().
void adopt_standard_output(int descriptor);

/// Returns the descriptor of the program's standard output; -1 if it was started without one.
int standard_output();

/// Makes the log on standard error: in colour only on a terminal that has it and without NO_COLOR.
void start_log();

/// Whether progress can be redrawn in place: standard error is a terminal that is not dumb.
bool can_redraw();

/// Returns the columns of the terminal on a descriptor, or `otherwise` if it is none.
size_t terminal_columns(int descriptor, size_t otherwise);

/// Prints text to standard output, control characters escaped.
void print_text(std::string_view text);

template <typename... T>
void print(fmt::format_string<T...> text, T&&... values) {
  print_text(fmt::format(text, std::forward<T>(values)...));
}

/// Prints a document, which is valid JSON in UTF-8 whatever its strings hold.
void print_json(const nlohmann::ordered_json& document, int indent = 2);

/// Writes out what was printed.   Errors: Io.
void finish_output();

/// Writes to standard error, control characters escaped, and ignores failures: a full disk under a log must
/// not lose a run.
void say_text(std::string_view text);

template <typename... T>
void say(fmt::format_string<T...> text, T&&... values) {
  say_text(fmt::format(text, std::forward<T>(values)...));
}

/// Replaces the line of progress that was drawn last; an empty text clears it. Only if can_redraw().
void redraw(std::string_view text);

}  // namespace glint::cli
