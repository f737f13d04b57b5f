// Prompts as web pages write them, cleaned the way Wan's training texts were.
#pragma once

#include <string>
#include <string_view>

namespace glint::detail {

/// Decodes HTML's character references twice, makes each run of white space one space, and strips both ends.
/// Source:  diffusers' WanPipeline, prompt_clean, without the package ftfy.
/// Deviations: of HTML's 2231 named references, the 30 that prompts are known to hold; others stay as they
///             are.
std::string clean_web_text(std::string_view text);

}  // namespace glint::detail
