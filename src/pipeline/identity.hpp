// What the results of a request depend on, for folders whose runs can be resumed.
#pragma once

#include <glint/bundle/bundle.hpp>
#include <glint/pipeline/plan.hpp>
#include <glint/pipeline/request.hpp>

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace glint::detail {

/// Returns the model (the SHA-256 of those of `components` it has), the torch version and the request's
/// options, except prompts and methods. Unset values are the model's defaults, which its hashes pin.
nlohmann::ordered_json request_identity(const Bundle& bundle, const GenerateRequest& request,
                                        const Plan& plan, const std::vector<std::string>& components);

}  // namespace glint::detail
