// What `glint generate --json` prints.
#include "cli/generate.hpp"

#include <sys/resource.h>

#include <span>

namespace glint::cli {
namespace {

using Json = nlohmann::ordered_json;

int64_t peak_memory_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024;
}

/// Returns per-step lists for each prompt; null where not measured. The first sample is picture `first`, and
/// a prompt has `each`.
Json guidance_json(const std::vector<EffectiveGuidance>& samples, int64_t first, int64_t each) {
  if (samples.empty()) return nullptr;
  Json list = Json::array();
  for (size_t at = 0, size = 0; at < samples.size(); at += size) {
    const int64_t left = each - (first + static_cast<int64_t>(at)) % each;  // of the prompt
    size = std::min(static_cast<size_t>(left), samples.size() - at);
    const EffectiveGuidance g = mean_of(std::span(samples).subspan(at, size));
    list.push_back({{"mean_signed", g.mean_signed_scale},
                    {"mean_unsigned", g.mean_unsigned_scale},
                    {"mean_orthogonal", g.mean_orthogonal},
                    {"signed", g.signed_scale},
                    {"unsigned", g.unsigned_scale},
                    {"orthogonal", g.orthogonal}});
  }
  return list;
}

}  // namespace

Json report_of(const GenerateArguments& args, const GenerateResult& made,
               const std::vector<std::string>& images, const std::string& error) {
  Json frames = nullptr, fps = nullptr;
  if (args.frames > 0) {
    frames = args.frames;
    fps = frames_per_second(args.files);
  }
  Json report = {{"images", images},
                 {"frames", frames},
                 {"fps", fps},
                 {"prompts", args.prompts},
                 {"seed", args.request.seed}};
  if (!error.empty()) {  // the figures of a run that did not end are unknown
    report["error"] = error;
    report["versions"] = versions();
    return report;
  }
  const SampleResult& sample = made.sample;
  Json strategies = Json::object();
  for (const auto& [stage, usage] : sample.by_stage)
    if (stage != "denoise")
      strategies[stage] = {{"calls", usage.calls}, {"rows", usage.rows}, {"seconds", usage.seconds}};
  for (const auto& [stage, figures] : sample.reports) strategies[stage].update(Json(figures));
  Json seconds = Json::object();
  for (const char* stage : {"load", "encode", "noise", "sample", "decode", "total"})
    seconds[stage] = made.seconds.at(stage);
  report.update(
      {{"steps", sample.steps},
       {"solver", made.solver},
       {"vae_tile", made.vae_tile},
       {"guidance", made.guidance},
       {"calls", sample.usage.calls},
       {"rows", sample.usage.rows},
       {"nfe", sample.nfe()},
       {"seconds", seconds},
       {"strategies", strategies},
       {"effective_guidance_scale",
        guidance_json(sample.effective_guidance, args.only >= 0 ? args.only : sampled_pictures(args).begin,
                      pictures_per_prompt(args))},
       {"peak_memory_bytes", peak_memory_bytes()},
       {"versions", versions()}});
  return report;
}

}  // namespace glint::cli
