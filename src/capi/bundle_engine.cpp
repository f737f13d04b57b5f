// An engine of a model bundle: prompts in, pictures out.
#include "capi/engine.hpp"

#include <glint/core/nearest.hpp>
#include <glint/image/image.hpp>
#include <glint/pipeline/pipeline.hpp>
#include <glint/vae/image_decoder.hpp>

#include <array>
#include <limits>

namespace glint::capi {
namespace {

constexpr std::array<std::string_view, 5> kOwn{"prompt", "negative", "width", "height",
                                               "free_params_immediately"};

Picture with_alpha(const Image& image) {
  Picture picture{.width = static_cast<int32_t>(image.width), .height = static_cast<int32_t>(image.height)};
  const size_t count = image.pixels.size() / 3;
  picture.rgba.resize(count * 4, 255);
  for (size_t i = 0; i < count; ++i) std::copy_n(image.pixels.data() + 3 * i, 3, picture.rgba.data() + 4 * i);
  return picture;
}

LoadOptions load_options(const glint_engine_config& config, const Engine::Log& log) {
  constexpr auto kMost = static_cast<uint64_t>((std::numeric_limits<int64_t>::max)());
  LoadOptions options{.device = config.device ? config.device : "cpu",
                      .memory_limit = static_cast<int64_t>((std::min)(config.memory_limit, kMost))};
  if (log) options.warn = [log](const std::string& text) { log(GLINT_LOG_WARNING, text); };
  return options;
}

class BundleEngine final : public Engine {
 public:
  BundleEngine(const glint_engine_config& config, Log log)
      : Engine(log), pipeline_(Bundle::load(config.bundle, load_options(config, log))) {}

  void check_key(std::string_view key) const override {
    const auto fields = prompt_fields();
    const bool field =
        std::any_of(fields.begin(), fields.end(), [&](const auto& f) { return f.name == key; });
    if (!field && std::find(kOwn.begin(), kOwn.end(), key) == kOwn.end()) Engine::check_key(key);
  }

  void check(const Options& options, std::string_view key) const override {
    if (key == "prompt" || key == "negative") return;
    if (key == "width" || key == "height") {
      const double pixels = options.number(key, 1);
      GLINT_CHECK(pixels >= 1 && pixels <= 65536 && pixels == std::floor(pixels), InvalidArgument,
                  "{}: expected a whole number from 1 to 65536, got {}", key, pixels);
      return;
    }
    if (key == "free_params_immediately") {
      const std::string text = options.get(key);
      GLINT_CHECK(text == "true" || text == "false", InvalidArgument, "{}: expected true or false, got '{}'",
                  key, text);
      return;
    }
    for (const PromptField& field : prompt_fields()) {
      if (field.name != key) continue;
      PromptOptions unused;
      return set_prompt_field(unused, key, options.get(key));
    }
    GLINT_CHECK(key != "size", InvalidArgument, "size: a bundle's pictures are sized by width and height");
    Engine::check(options, key);
  }

  Work prepare(const Options& options, bool previews) const override {
    GenerateRequest request{.prompts = {options.get("prompt")},
                            .schedule = parse_pairs(options.get("schedule"), "schedule"),
                            .adapters = parse_adapters(options.get("adapters")),
                            .seed = std::stoull(options.get("seed", "0")),
                            .count = static_cast<int64_t>(options.number("count", 1)),
                            .noise = options.tensor("noise"),
                            .decode = pipeline_.bundle().has("vae_decoder"),
                            .free_params_immediately = options.get("free_params_immediately") == "true",
                            .previews = previews};
    if (options.text.contains("negative")) request.negative = options.get("negative");
    for (const PromptField& field : prompt_fields())
      if (options.text.contains(field.name))
        set_prompt_field(request.text, field.name, options.get(field.name));
    if (options.text.contains("steps")) request.steps = static_cast<int>(options.number("steps", 1));
    if (options.text.contains("guidance")) request.guidance = options.number("guidance", 1);
    if (options.text.contains("solver")) request.solver = parse_choice(options.get("solver"));
    if (options.text.contains("width")) request.width = static_cast<int64_t>(options.number("width", 1));
    if (options.text.contains("height")) request.height = static_cast<int64_t>(options.number("height", 1));
    for (Choice& choice : parse_methods(options.get("with"))) request.with.emplace_back(std::move(choice));
    for (const auto& strategy : options.strategies) request.with.emplace_back(StepMethod(strategy));
    if (options.tensor("tokens").defined())
      request.conditioning = Prompt{
          Conditioning{.tokens = options.tensor("tokens"), .pooled = options.tensor("pooled")},
          Conditioning{.tokens = options.tensor("null_tokens"), .pooled = options.tensor("null_pooled")}};
    pipeline_.resolve(request);  // throws for what cannot work
    return [this, request](Observer* observer) {
      GenerateRequest own = request;
      own.observer = observer;
      GenerateResult made = pipeline_.generate(own);
      Outcome outcome{.sample = std::move(made.sample)};
      for (const Image& image : made.images) outcome.pictures.push_back(with_alpha(image));
      return outcome;
    };
  }

  std::optional<Picture> preview(const Tensor& denoised) const override {
    if (denoised.dim() != 4 || !pipeline_.bundle().has("vae_decoder")) return std::nullopt;
    const Tensor first = denoised.narrow(0, 0, 1).to(at::kFloat);
    return with_alpha(to_images(pipeline_.bundle().decoder()->decode(first)).front());
  }

  std::map<std::string, int64_t> memory() const override { return pipeline_.bundle().memory(); }
  void free_params() const override { pipeline_.bundle().free_params(); }

 private:
  Pipeline pipeline_;
};

}  // namespace

std::shared_ptr<const Engine> make_bundle_engine(const glint_engine_config& config, Engine::Log log) {
  return std::make_shared<const BundleEngine>(config, std::move(log));
}

}  // namespace glint::capi
