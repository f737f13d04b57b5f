#include "pipeline/identity.hpp"

#include <glint/version.hpp>

namespace glint::detail {
namespace {

using Json = nlohmann::ordered_json;

Json json_of(const OptionValues& options) {
  Json object = Json::object();
  for (const auto& [name, value] : options) object[name] = text_of(value);
  return object;
}

}  // namespace

Json request_identity(const Bundle& bundle, const GenerateRequest& request, const Plan& plan,
                      const std::vector<std::string>& components) {
  Json hashes = Json::object();
  for (const std::string& name : components)
    if (bundle.has(name)) hashes[name] = bundle.manifest().components.at(name).sha256;
  const auto size = [](const std::optional<int64_t>& pixels) { return pixels ? Json(*pixels) : Json(); };
  // Each of several processes may have a device of its own.
  const std::string& device = bundle.options().device;
  const Choice solver = request.solver.value_or(Choice{.name = "default"});
  Json options = {{"steps", plan.sampler.schedule().steps()},
                  {"guidance", plan.guidance},
                  {"negative", request.negative ? Json(*request.negative) : Json()},
                  {"solver", solver.name},
                  {"solver_options", json_of(solver.options)},
                  {"schedule", json_of(request.schedule)},
                  {"width", size(request.width)},
                  {"height", size(request.height)},
                  {"frames", size(request.frames)},
                  {"seed", request.seed},
                  {"count", request.count},
                  {"batch", request.batch},
                  {"device", device.substr(0, device.find(':'))},
                  {"dtype", bundle.options().dtype}};
  if (const auto texts = prompt_field_texts(request.text); !texts.empty()) options["text"] = texts;
  return {{"model", {{"name", bundle.manifest().name}, {"components", hashes}}},
          {"torch", torch_version()},
          {"options", options}};
}

}  // namespace glint::detail
