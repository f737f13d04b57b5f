// Cleans prompts the way Wan's training texts were cleaned of HTML.
#pragma once

#include <string>
#include <string_view>

namespace glint::detail {

/// Repairs text that was damaged on its way, decodes HTML character references twice, collapses white space
/// and strips both ends.
/// Source:  diffusers' WanPipeline, prompt_clean, with the package ftfy.
std::string clean_web_text(std::string_view text);

}  // namespace glint::detail
