// Text of messages: a format string whose every {} is replaced by an argument. It needs no other header, so
// that error checks cost a host neither a library nor its macros.
#pragma once

#include <glint/export.hpp>

#include <concepts>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

namespace glint {

/// One argument of a message: a number, a character, a truth value or text. Borrows text for the call.
class MessageArgument {
 public:
  MessageArgument(bool value) : value_(value) {}
  MessageArgument(char value) : value_(value) {}
  template <std::signed_integral T>
  MessageArgument(T value) : value_(static_cast<long long>(value)) {}
  template <std::unsigned_integral T>
  MessageArgument(T value) : value_(static_cast<unsigned long long>(value)) {}
  MessageArgument(float value) : value_(value) {}
  MessageArgument(double value) : value_(value) {}
  MessageArgument(const char* text) : value_(std::string_view(text)) {}
  MessageArgument(std::string_view text) : value_(text) {}
  MessageArgument(const std::string& text) : value_(std::string_view(text)) {}

  /// Appends the argument: numbers in the fewest digits that give the same number back.
  GLINT_API void append_to(std::string& text) const;

 private:
  std::variant<bool, char, long long, unsigned long long, float, double, std::string_view> value_;
};

/// A format string for these arguments. One with more or fewer {} than arguments does not compile.
template <typename... Args>
class MessageFormat {
 public:
  template <typename Text>
  requires std::convertible_to<const Text&, std::string_view>
  consteval MessageFormat(const Text& text) : text_(text) {
    if (placeholders(text_) != sizeof...(Args)) throw "expected as many {} as arguments";
  }
  constexpr std::string_view text() const { return text_; }

 private:
  static constexpr size_t placeholders(std::string_view text) {
    size_t count = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '{' && text[i] != '}') continue;
      if (text[i] != '{' || i + 1 == text.size() || text[i + 1] != '}') throw "expected braces as {} only";
      ++count;
      ++i;
    }
    return count;
  }

  std::string_view text_;
};

namespace detail {
GLINT_API std::string filled(std::string_view format, std::initializer_list<MessageArgument> arguments);
}  // namespace detail

/// Returns `format` with each {} replaced by the next argument.
template <typename... Args>
std::string message(MessageFormat<std::type_identity_t<Args>...> format, const Args&... args) {
  return detail::filled(format.text(), {MessageArgument(args)...});
}

/// Returns the texts with `separator` between them.
template <typename Texts>
std::string joined_text(const Texts& texts, std::string_view separator) {
  std::string all;
  bool first = true;
  for (const auto& text : texts) {
    if (!first) all += separator;
    MessageArgument(text).append_to(all);
    first = false;
  }
  return all;
}

}  // namespace glint
