#include <glint/core/error.hpp>
#include <glint/core/nearest.hpp>
#include <glint/text/prompt_options.hpp>

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <vector>

namespace glint {
namespace {

constexpr std::array kFields{
    PromptField{"prompt_2", "prompt of the second text encoder; default: the prompt"},
    PromptField{"prompt_3", "prompt of the third text encoder; default: the prompt"},
    PromptField{"negative_2", "negative prompt of the second text encoder; default: the negative prompt"},
    PromptField{"negative_3", "negative prompt of the third text encoder; default: the negative prompt"},
    PromptField{"clip_skip", "layers of CLIP to leave out at its end, beside the last one (SDXL, SD3)"},
    PromptField{"text_length", "tokens of T5, 2 to 512; default: the model's (SD3, FLUX, Wan)"},
    PromptField{"original_size", "WIDTHxHEIGHT of the picture that SDXL is told this one is cut from"},
    PromptField{"crop", "LEFT,TOP where it is cut; default: 0,0"},
    PromptField{"target_size", "WIDTHxHEIGHT of the cut; default: the picture's, as of original_size"},
    PromptField{"negative_original_size", "the same for the negative prompt; default: original_size"},
    PromptField{"negative_crop", "default: 0,0 beside negative_original_size, else crop"},
    PromptField{"negative_target_size", "goes with negative_original_size"},
};

/// Reads the number at the front of `text` and takes it off.
bool take_number(std::string_view& text, int64_t& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{}) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return true;
}

/// Reads two numbers with a separator between them.
bool read_pair(std::string_view text, char separator, int64_t& first, int64_t& second) {
  if (!take_number(text, first) || !text.starts_with(separator)) return false;
  text.remove_prefix(1);
  return take_number(text, second) && text.empty();
}

/// Sets fields from text.
struct Reader {
  std::string_view name, text;

  void operator()(std::string& out) const { out = text; }
  void operator()(std::optional<int64_t>& out) const {
    std::string_view rest = text;
    GLINT_CHECK(take_number(rest, out.emplace()) && rest.empty(), InvalidArgument,
                "{}: expected a whole number, got '{}'", name, text);
  }
  void operator()(std::optional<PictureSize>& out) const {
    PictureSize& size = out.emplace();
    GLINT_CHECK(read_pair(text, 'x', size.width, size.height), InvalidArgument,
                "{}: expected WIDTHxHEIGHT, such as 1024x768, got '{}'", name, text);
  }
  void operator()(std::optional<PictureCorner>& out) const {
    PictureCorner& corner = out.emplace();
    GLINT_CHECK(read_pair(text, ',', corner.left, corner.top), InvalidArgument,
                "{}: expected LEFT,TOP, such as 0,128, got '{}'", name, text);
  }
};

/// Turns fields into text, empty if they are unset.
struct Writer {
  std::string operator()(const std::string& value) const { return value; }
  std::string operator()(const std::optional<int64_t>& value) const {
    return value ? std::to_string(*value) : "";
  }
  std::string operator()(const std::optional<PictureSize>& size) const {
    return size ? fmt::format("{}x{}", size->width, size->height) : "";
  }
  std::string operator()(const std::optional<PictureCorner>& corner) const {
    return corner ? fmt::format("{},{}", corner->left, corner->top) : "";
  }
};

/// Calls `visit` with every field, in the order of kFields.
template <typename Options, typename Visit>
void each_field(Options& o, Visit visit) {
  size_t at = 0;
  const auto next = [&](auto& value) { visit(kFields[at++].name, value); };
  next(o.prompt_2);
  next(o.prompt_3);
  next(o.negative_2);
  next(o.negative_3);
  next(o.clip_skip);
  next(o.text_length);
  for (auto* origin : {&o.origin, &o.negative_origin}) {
    next(origin->original);
    next(origin->crop);
    next(origin->target);
  }
}

}  // namespace

std::span<const PromptField> prompt_fields() { return kFields; }

void set_prompt_field(PromptOptions& options, std::string_view name, std::string_view text) {
  bool known = false;
  each_field(options, [&](std::string_view field, auto& value) {
    if (field != name) return;
    known = true;
    Reader{name, text}(value);
  });
  if (known) return;
  std::vector<std::string> names;
  for (const PromptField& field : kFields) names.emplace_back(field.name);
  fail(ErrorCode::InvalidArgument, "prompt options: there is no '{}'{}", name, did_you_mean(name, names));
}

std::map<std::string, std::string> prompt_field_texts(const PromptOptions& options) {
  std::map<std::string, std::string> texts;
  each_field(options, [&](std::string_view field, const auto& value) {
    if (std::string text = Writer{}(value); !text.empty()) texts.emplace(field, std::move(text));
  });
  return texts;
}

}  // namespace glint
