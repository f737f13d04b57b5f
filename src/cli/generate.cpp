// glint generate: makes images or videos from prompts.
#include "cli/cli.hpp"
#include "cli/outputs.hpp"
#include "cli/progress.hpp"

#include <glint/image/png.hpp>
#include <glint/io/safetensors.hpp>
#include <glint/pipeline/pipeline.hpp>
#include <glint/version.hpp>

#include <ATen/Parallel.h>
#include <ATen/ops/stack.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <memory>
#include <span>

namespace glint::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

struct Arguments {
  std::vector<std::string> prompts;
  std::string model = "emoji-flow", device = "cpu", dtype, solver, schedule;
  std::vector<std::string> with, lora;
  std::string noise_in, cond_in;
  OutputFiles files;
  int64_t frames = 0;  // per video; 0 for image models
  int threads = 0;
  bool json = false, quiet = false;
  GenerateRequest request;
};

/// Applies `--lora`: NAME[:scale] for the bundle's own adapters, FILE[:scale] for others, which are named by
/// their file's stem. Sets the request's scales and returns the bundle with the added files.
Bundle with_lora(const Bundle& bundle, const std::vector<std::string>& given, Adapters& scales) {
  std::map<std::string, fs::path> files;
  for (const std::string& text : given) {
    const size_t colon = text.rfind(':');
    const auto scale = colon == std::string::npos ? std::nullopt : detail::number_in(text.substr(colon + 1));
    const std::string what = scale ? text.substr(0, colon) : text;
    const bool own = bundle.manifest().adapters.contains(what);
    const std::string name = own ? what : fs::path(what).stem().string();
    std::error_code ignored;
    if (!own && !fs::is_regular_file(what, ignored)) {
      std::vector<std::string> known;
      for (const auto& [adapter, unused] : bundle.manifest().adapters) known.push_back(adapter);
      fail(ErrorCode::NotFound, "--lora: neither a file nor an adapter of the model: '{}'{}", what,
           did_you_mean(what, known));
    }
    GLINT_CHECK(scales.emplace(name, scale.value_or(1.0)).second, InvalidArgument,
                "--lora: '{}' is given twice", name);
    if (!own) files.emplace(name, what);
  }
  return files.empty() ? bundle : bundle.with_adapters(files);
}

void fill_request(Arguments& args) {
  GenerateRequest& request = args.request;
  if (!args.solver.empty()) request.solver = parse_choice(args.solver);
  request.schedule = schedule_options(args.schedule);
  for (const std::string& text : args.with) request.with.emplace_back(parse_choice(text));
  request.keep_trajectory = !args.files.trajectory.empty();
  if (!args.cond_in.empty()) {
    GLINT_CHECK(args.prompts.empty() && !request.negative, InvalidArgument,
                "--cond-in: replaces the prompt and --negative; give one or the other");
    request.conditioning = prompt_from_tensors(read_safetensors(args.cond_in));
    args.prompts.emplace_back();
  }
  if (!args.noise_in.empty()) {
    const TensorMap tensors = read_safetensors(args.noise_in);
    GLINT_CHECK(tensors.contains("noise"), BadModel, "{}: expected a tensor 'noise' [B,C,H,W], got none",
                args.noise_in);
    GLINT_CHECK(request.count == 1, InvalidArgument, "--count: --noise-in says how many pictures there are");
    request.noise = tensors.at("noise");
  }
  GLINT_CHECK(!args.prompts.empty(), InvalidArgument,
              "prompt: expected one, got none (\"\" is the empty prompt)");
  request.prompts = args.prompts;
}

/// Whether the request sets an attention policy, which the denoiser must be loaded for.
bool has_attention(const GenerateRequest& request) {
  return std::any_of(request.with.begin(), request.with.end(), [](const Method& method) {
    return builtins().entry(method.choice()->name).info.kind == "attention";
  });
}

/// Returns the number of frames per video, 0 for image models.
int64_t frames_of(const GenerateRequest& request, const LatentSpec& latent) {
  if (!latent.frame_scale) return 0;
  const auto frames = [&](int64_t latent_frames) { return (latent_frames - 1) * *latent.frame_scale + 1; };
  if (request.noise.defined() && request.noise.dim() == 5) return frames(request.noise.size(2));
  return std::max<int64_t>(1, request.frames.value_or(frames(latent.frames.value_or(1))));
}

/// Returns the number of images or videos of all prompts.
int64_t pictures_of(const Arguments& args) {
  const GenerateRequest& request = args.request;
  const int64_t each =
      request.noise.defined() && request.noise.dim() > 0 ? request.noise.size(0) : request.count;
  return each * static_cast<int64_t>(args.prompts.size());
}

void report_words(const std::vector<TokenizedPrompt>& prompts) {
  std::vector<std::string> unknown;
  for (const TokenizedPrompt& prompt : prompts) {
    for (const std::string& word : prompt.unknown)
      if (std::find(unknown.begin(), unknown.end(), word) == unknown.end()) unknown.push_back(word);
    if (!prompt.dropped.empty())
      spdlog::warn("beyond the prompt's length and without effect: {}", fmt::join(prompt.dropped, ", "));
  }
  if (!unknown.empty())
    spdlog::warn("the model does not know: {} (they count as one unknown word)", fmt::join(unknown, ", "));
}

/// Returns the settings that reproduce image `index`.
PngTexts texts_of(const Arguments& args, size_t index, const GenerateResult& result) {
  const size_t per_prompt = static_cast<size_t>(pictures_of(args)) / args.prompts.size();
  PngTexts texts{{"prompt", args.prompts[index / per_prompt]},
                 {"model", args.model},
                 {"steps", std::to_string(result.sample.steps)},
                 {"solver", args.solver.empty() ? result.solver : args.solver},
                 {"rule", result.rule},
                 {"guidance", fmt::format("{}", result.guidance)},
                 {"software", fmt::format("glint {}", version())}};
  if (args.noise_in.empty()) texts["seed"] = std::to_string(args.request.seed + index % per_prompt);
  if (args.request.negative) texts["negative"] = *args.request.negative;
  if (!args.schedule.empty()) texts["schedule"] = args.schedule;
  if (!args.with.empty()) texts["with"] = fmt::format("{}", fmt::join(args.with, " "));
  if (args.frames > 0) {
    texts["frames"] = std::to_string(args.frames);
    texts["fps"] = fmt::format("{}", frames_per_second(args.files));
  }
  if (result.vae_tile > 0) texts["vae_tile"] = std::to_string(result.vae_tile);
  if (!args.lora.empty()) texts["lora"] = fmt::format("{}", fmt::join(args.lora, " "));
  return texts;
}

GenerateResult run(const Arguments& args, const Pipeline& pipeline) {
  Progress progress(args.quiet);
  GenerateRequest request = args.request;
  request.observer = &progress;
  const std::string& first = args.prompts.front();
  progress.begin(args.prompts.size() > 1 ? fmt::format("{} prompts", args.prompts.size())
                 : first.empty()         ? "glint"
                                         : first);
  try {
    GenerateResult result = pipeline.generate(request);
    progress.end();
    return result;
  } catch (...) {
    progress.end();
    throw;
  }
}

/// Returns the images or videos, each with the settings that reproduce it.
Pictures take_pictures(const Arguments& args, GenerateResult& result) {
  Pictures pictures{.images = std::move(result.images), .videos = std::move(result.videos), .texts = {}};
  for (size_t i = 0; i < pictures.images.size() + pictures.videos.size(); ++i)
    pictures.texts.push_back(texts_of(args, i, result));
  return pictures;
}

void write_tensors(const OutputFiles& files, const SampleResult& sample) {
  if (!files.latents.empty()) write_safetensors(files.latents, {{"latents", sample.latents}});
  if (!files.trajectory.empty())
    write_safetensors(files.trajectory, {{"trajectory", at::stack(sample.trajectory)}});
}

int64_t peak_memory_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024;
}

/// Returns per-step lists for each prompt; null where not measured.
Json guidance_json(const std::vector<EffectiveGuidance>& samples, size_t prompts) {
  if (samples.empty()) return nullptr;
  Json list = Json::array();
  const size_t each = samples.size() / prompts;
  for (size_t p = 0; p < prompts; ++p) {
    const EffectiveGuidance g = mean_of(std::span(samples).subspan(p * each, each));
    list.push_back({{"mean_signed", g.mean_signed_scale},
                    {"mean_unsigned", g.mean_unsigned_scale},
                    {"mean_orthogonal", g.mean_orthogonal},
                    {"signed", g.signed_scale},
                    {"unsigned", g.unsigned_scale},
                    {"orthogonal", g.orthogonal}});
  }
  return list;
}

Json to_json(const Arguments& args, const GenerateResult& result, const std::vector<std::string>& images) {
  const SampleResult& sample = result.sample;
  Json strategies = Json::object();
  for (const auto& [stage, usage] : sample.by_stage)
    if (stage != "denoise")
      strategies[stage] = {{"calls", usage.calls}, {"rows", usage.rows}, {"seconds", usage.seconds}};
  for (const auto& [stage, figures] : sample.reports) strategies[stage].update(Json(figures));
  Json seconds = Json::object();
  for (const char* stage : {"load", "encode", "noise", "sample", "decode", "total"})
    seconds[stage] = result.seconds.at(stage);
  Json frames = nullptr, fps = nullptr;
  if (args.frames > 0) {
    frames = args.frames;
    fps = frames_per_second(args.files);
  }
  return {{"images", images},
          {"frames", frames},
          {"fps", fps},
          {"prompts", args.prompts},
          {"seed", args.request.seed},
          {"steps", sample.steps},
          {"solver", result.solver},
          {"vae_tile", result.vae_tile},
          {"guidance", result.guidance},
          {"calls", sample.usage.calls},
          {"rows", sample.usage.rows},
          {"nfe", sample.nfe()},
          {"seconds", seconds},
          {"strategies", strategies},
          {"effective_guidance_scale", guidance_json(sample.effective_guidance, args.prompts.size())},
          {"peak_memory_bytes", peak_memory_bytes()},
          {"versions", versions()}};
}

int generate(Arguments& args) {
  const auto start = std::chrono::steady_clock::now();
  if (args.threads > 0) at::set_num_threads(args.threads);
  fill_request(args);
  const Bundle bundle = Bundle::load(find_model(args.model), {.device = args.device,
                                                              .dtype = args.dtype,
                                                              .attention = has_attention(args.request),
                                                              .warn = args.quiet ? nullptr : &warn});
  const Pipeline pipeline(with_lora(bundle, args.lora, args.request.adapters));
  OutputFiles& files = args.files;
  args.frames = frames_of(args.request, pipeline.bundle().manifest().latent);
  args.request.decode = pipeline.bundle().has("vae_decoder");
  if (!args.request.decode)
    GLINT_CHECK(!files.latents.empty() && files.pictures.empty() && files.sheet.empty(), InvalidArgument,
                "model '{}' has no decoder: give --latents-out FILE instead of -o",
                pipeline.bundle().manifest().name);
  if (args.request.decode && files.pictures.empty() && files.sheet.empty())
    files.pictures = args.frames > 0 ? "glint.webp" : "glint.png";
  check_outputs(files, args.frames, pictures_of(args));
  pipeline.preload(args.request);
  const auto since = [start] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  const double load = since();
  const InterruptGuard guard;
  GenerateResult result = run(args, pipeline);
  if (!args.quiet) report_words(result.prompts);
  if (InterruptGuard::interrupted()) fail(ErrorCode::Cancelled, "cancelled before anything was written");
  const std::vector<std::string> paths = write_pictures(files, take_pictures(args, result));
  write_tensors(files, result.sample);
  result.seconds["load"] = load;
  result.seconds["total"] = since();

  if (args.json) {
    std::cout << to_json(args, result, paths).dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
  } else if (!args.quiet) {
    for (const std::string& path : paths) fmt::print("{}\n", path);
  }
  return kOk;
}

void add_sampling_options(CLI::App& command, Arguments& args) {
  GenerateRequest& r = args.request;
  command.add_option("prompt", args.prompts, "what to draw; several prompts make several pictures");
  command.add_option("--model,-m", args.model, "folder of a model bundle, or name of a model")
      ->capture_default_str();
  command.add_option("--negative", r.negative, "what to steer away from");
  command.add_option("--steps", r.steps, "steps of the solver; default: the model's");
  command.add_option("--guidance", r.guidance, "guidance scale, 1 and less is off; default: the model's");
  command
      .add_option("--with", args.with,
                  "a strategy, guidance rule, filter or attention: NAME[:key=value,...]; may be repeated; "
                  "'glint list' has the names")
      ->allow_extra_args(false);
  command.add_option("--solver", args.solver, "NAME[:key=value,...]; default: the model's");
  command.add_option(
      "--schedule", args.schedule,
      "leading, trailing, linspace, karras, exponential, lu or beta, then [:key=value,...]: spacing, sigmas, "
      "rho, steps_offset, terminal, sigma_min, sigma_max, shift");
  command
      .add_option(
          "--lora", args.lora,
          "safetensors FILE[:scale], or an adapter of the model by NAME[:scale]; default scale: 1; may be "
          "repeated. Strategies call a file's adapter by its name without folder and extension")
      ->allow_extra_args(false);
  command.add_option("--seed", r.seed, "picture k of a prompt is drawn with seed + k")->capture_default_str();
  command.add_option("--count", r.count, "pictures per prompt")->capture_default_str();
  command
      .add_option("--batch", r.batch,
                  "pictures sampled at once; changes memory and time, and pictures by rounding only")
      ->capture_default_str();
  command.add_option("--width", r.width, "px; default: the model's");
  command.add_option("--height", r.height, "px; default: the model's");
  command.add_option("--frames", r.frames, "frames of a video; default: the model's");
  command.add_option("--noise-in", args.noise_in,
                     "safetensors with initial 'noise' [B,C,H,W]; replaces --seed and --count");
  command.add_option("--cond-in", args.cond_in,
                     "safetensors with 'tokens' [L,D] and optional 'pooled', 'null_tokens', 'null_pooled'; "
                     "replaces the prompt");
}

void add_output_options(CLI::App& command, Arguments& args) {
  OutputFiles& files = args.files;
  command.add_option(
      "--output,-o", files.pictures,
      "PNG or WebP to write; of a video an animated WebP, PNGs like clip_%04d.png, or a folder of them; "
      "several get -1, -2, ...; default: glint.png, glint.webp");
  command.add_option("--sheet", files.sheet, "picture with all pictures, or all frames, side by side");
  command.add_option("--enlarge", files.enlarge, "make pictures this many times as large")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  command.add_option("--fps", files.frames_per_second,
                     "frames per second of a video, 0.1 to 60; default: 16");
  command.add_option("--vae-tile", args.request.vae_tile,
                     "decode in overlapping tiles of this many px, 0 never; default: in one piece unless the "
                     "picture is large");
  command.add_option("--latents-out", files.latents, "write 'latents' as safetensors");
  command.add_option("--trajectory-out", files.trajectory,
                     "write the 'trajectory' of latents as safetensors");
}

void add_run_options(CLI::App& command, Arguments& args) {
  command.add_option("--device", args.device, "cpu, cuda or cuda:N")->capture_default_str();
  command.add_option("--dtype", args.dtype,
                     "float32, bfloat16 or float16 inside the network; default: the bundle's");
  command.add_option("--threads", args.threads, "CPU threads; default: all")->check(CLI::Range(1, 1024));
  command.add_flag("--effective-guidance", args.request.effective_guidance,
                   "measure the guidance scale every step amounts to, for --json; 2 more rows a step");
  command.add_flag("--json", args.json, "print one JSON object about the run");
  command.add_flag("--quiet,-q", args.quiet, "no progress, no paths");
}

}  // namespace

void add_generate(CLI::App& app, int& exit_code) {
  auto args = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("generate", "Make pictures from prompts");
  add_sampling_options(*command, *args);
  add_output_options(*command, *args);
  add_run_options(*command, *args);
  command->footer(
      "Examples:\n"
      "  glint generate \"red apple\" -o apple.png\n"
      "  glint generate \"blue heart\" --with z-sampling:guidance_inverse=1 --with rescale:phi=0.5 --seed 7\n"
      "  glint generate zebra crown house --count 4 --sheet sheet.png --enlarge 2");
  command->callback([args, &exit_code] { exit_code = generate(*args); });
}

}  // namespace glint::cli
