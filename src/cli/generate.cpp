// glint generate: pictures from prompts.
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

#include <chrono>
#include <iostream>
#include <memory>

namespace glint::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

struct Arguments {
  std::vector<std::string> prompts;
  std::string model = "emoji-flow", device = "cpu", dtype, solver, rule, schedule, attention;
  std::vector<std::string> noise, step, filters, lora;
  std::string noise_in, cond_in;
  OutputFiles files;
  int64_t frames = 0;  // of each video; 0 of a model that makes pictures
  int threads = 0;
  bool json = false, quiet = false;
  GenerateRequest request;
};

/// Takes `--lora` NAME[:scale] of the bundle's own adapters and FILE[:scale] of others, which are then called by their
/// file's stem, into the request; returns the bundle with those.
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
  if (!args.rule.empty()) request.rule = parse_choice(args.rule);
  if (!args.attention.empty()) request.attention = parse_choice(args.attention);
  request.schedule = schedule_options(args.schedule);
  for (const std::string& text : args.filters) request.filters.push_back(parse_choice(text));
  for (const std::string& text : args.noise) request.noise_strategies.push_back(parse_choice(text));
  for (const std::string& text : args.step) request.step_strategies.push_back(parse_choice(text));
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
}

/// Frames of each video the request asks for, 0 if the model makes pictures.
int64_t frames_of(const GenerateRequest& request, const LatentSpec& latent) {
  if (!latent.frame_scale) return 0;
  const auto frames = [&](int64_t latent_frames) { return (latent_frames - 1) * *latent.frame_scale + 1; };
  if (request.noise.defined() && request.noise.dim() == 5) return frames(request.noise.size(2));
  return std::max<int64_t>(1, request.frames.value_or(frames(latent.frames.value_or(1))));
}

/// Pictures or videos of all prompts.
int64_t pictures_of(const Arguments& args) {
  const GenerateRequest& request = args.request;
  const int64_t each =
      request.noise.defined() && request.noise.dim() > 0 ? request.noise.size(0) : request.count;
  return each * static_cast<int64_t>(args.prompts.size());
}

struct Outcome {
  Pictures pictures;
  std::vector<at::Tensor> latents;
  std::vector<std::vector<at::Tensor>> trajectories;
  GenerateResult last;
  Usage usage;
  std::map<std::string, Usage> by_stage;
  std::map<std::string, double> seconds;
  Reports reports;
  std::vector<EffectiveGuidance> guidance;  ///< one per prompt
};

void report_words(const TokenizedPrompt& prompt) {
  if (!prompt.unknown.empty())
    spdlog::warn("the model does not know: {} (they count as one unknown word)",
                 fmt::join(prompt.unknown, ", "));
  if (!prompt.dropped.empty())
    spdlog::warn("beyond the prompt's length and without effect: {}", fmt::join(prompt.dropped, ", "));
}

/// What a picture was made with, so that it can be made again.
PngTexts texts_of(const Arguments& args, const std::string& prompt, size_t index,
                  const GenerateResult& result) {
  PngTexts texts{{"prompt", prompt},
                 {"model", args.model},
                 {"steps", std::to_string(result.sample.steps)},
                 {"solver", args.solver.empty() ? result.solver : args.solver},
                 {"rule", args.rule.empty() ? result.rule : args.rule},
                 {"guidance", fmt::format("{}", result.guidance)},
                 {"software", fmt::format("glint {}", version())}};
  if (args.noise_in.empty()) texts["seed"] = std::to_string(args.request.seed + index);
  if (args.request.negative) texts["negative"] = *args.request.negative;
  if (!args.schedule.empty()) texts["schedule"] = args.schedule;
  if (!args.filters.empty()) texts["filter"] = fmt::format("{}", fmt::join(args.filters, " "));
  if (!args.attention.empty()) texts["attention"] = args.attention;
  if (args.frames > 0) {
    texts["frames"] = std::to_string(args.frames);
    texts["fps"] = fmt::format("{}", frames_per_second(args.files));
  }
  if (result.vae_tile > 0) texts["vae_tile"] = std::to_string(result.vae_tile);
  if (!args.lora.empty()) texts["lora"] = fmt::format("{}", fmt::join(args.lora, " "));
  if (!args.noise.empty()) texts["noise"] = fmt::format("{}", fmt::join(args.noise, " "));
  if (!args.step.empty()) texts["step"] = fmt::format("{}", fmt::join(args.step, " "));
  return texts;
}

void add(Outcome& outcome, const Arguments& args, const std::string& prompt, GenerateResult&& result) {
  for (Image& image : result.images) outcome.pictures.images.push_back(std::move(image));
  for (Video& video : result.videos) outcome.pictures.videos.push_back(std::move(video));
  for (size_t i = 0; i < result.images.size() + result.videos.size(); ++i)
    outcome.pictures.texts.push_back(texts_of(args, prompt, i, result));
  outcome.latents.push_back(result.sample.latents);
  outcome.trajectories.push_back(result.sample.trajectory);
  outcome.usage += result.sample.usage;
  for (const auto& [stage, usage] : result.sample.by_stage) outcome.by_stage[stage] += usage;
  for (const auto& [stage, seconds] : result.seconds) outcome.seconds[stage] += seconds;
  for (const auto& [stage, figures] : result.sample.reports)
    for (const auto& [name, values] : figures) {
      auto& list = outcome.reports[stage][name];
      list.insert(list.end(), values.begin(), values.end());
    }
  if (result.sample.effective_guidance) outcome.guidance.push_back(*result.sample.effective_guidance);
  outcome.last = std::move(result);
}

Outcome run(const Arguments& args, const Pipeline& pipeline) {
  Outcome outcome;
  Progress progress(args.quiet);
  GenerateRequest request = args.request;
  request.observer = &progress;
  for (const std::string& prompt : args.prompts) {
    request.prompt = prompt;
    progress.begin(prompt.empty() ? "glint" : prompt);
    try {
      GenerateResult result = pipeline.generate(request);
      progress.end();
      if (!args.quiet) report_words(result.prompt);
      add(outcome, args, prompt, std::move(result));
    } catch (...) {
      progress.end();
      throw;
    }
  }
  return outcome;
}

void write_tensors(const OutputFiles& files, const Outcome& outcome) {
  if (!files.latents.empty()) write_safetensors(files.latents, {{"latents", at::cat(outcome.latents)}});
  if (files.trajectory.empty()) return;
  std::vector<at::Tensor> levels;
  for (size_t i = 0; i < outcome.trajectories.front().size(); ++i) {
    std::vector<at::Tensor> samples;
    for (const auto& trajectory : outcome.trajectories) samples.push_back(trajectory[i]);
    levels.push_back(at::cat(samples));
  }
  write_safetensors(files.trajectory, {{"trajectory", at::stack(levels)}});
}

int64_t peak_memory_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024;
}

/// Per prompt, as lists over the steps; null where it was not measured.
Json guidance_json(const std::vector<EffectiveGuidance>& guidance) {
  if (guidance.empty()) return nullptr;
  Json prompts = Json::array();
  for (const EffectiveGuidance& g : guidance)
    prompts.push_back({{"mean_signed", g.mean_signed_scale},
                       {"mean_unsigned", g.mean_unsigned_scale},
                       {"mean_orthogonal", g.mean_orthogonal},
                       {"signed", g.signed_scale},
                       {"unsigned", g.unsigned_scale},
                       {"orthogonal", g.orthogonal}});
  return prompts;
}

Json to_json(const Arguments& args, const Outcome& outcome, const std::vector<std::string>& images) {
  Json strategies = Json::object();
  for (const auto& [stage, usage] : outcome.by_stage)
    if (stage != "denoise")
      strategies[stage] = {{"calls", usage.calls}, {"rows", usage.rows}, {"seconds", usage.seconds}};
  for (const auto& [stage, figures] : outcome.reports) strategies[stage].update(Json(figures));
  Json seconds = Json::object();
  for (const char* stage : {"load", "encode", "noise", "sample", "decode", "total"})
    seconds[stage] = outcome.seconds.contains(stage) ? outcome.seconds.at(stage) : 0.0;
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
          {"steps", outcome.last.sample.steps},
          {"solver", outcome.last.solver},
          {"vae_tile", outcome.last.vae_tile},
          {"guidance", outcome.last.guidance},
          {"calls", outcome.usage.calls},
          {"rows", outcome.usage.rows},
          {"seconds", seconds},
          {"strategies", strategies},
          {"effective_guidance_scale", guidance_json(outcome.guidance)},
          {"peak_memory_bytes", peak_memory_bytes()},
          {"versions", versions()}};
}

int generate(Arguments& args) {
  const auto start = std::chrono::steady_clock::now();
  if (args.threads > 0) at::set_num_threads(args.threads);
  fill_request(args);
  const Bundle bundle = Bundle::load(find_model(args.model), {.device = args.device,
                                                              .dtype = args.dtype,
                                                              .attention = !args.attention.empty(),
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
  Outcome outcome = run(args, pipeline);
  if (InterruptGuard::interrupted()) fail(ErrorCode::Cancelled, "cancelled before anything was written");
  const std::vector<std::string> paths = write_pictures(files, std::move(outcome.pictures));
  write_tensors(files, outcome);
  outcome.seconds["load"] = load;
  outcome.seconds["total"] = since();

  if (args.json) {
    std::cout << to_json(args, outcome, paths).dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
  } else if (!args.quiet) {
    for (const std::string& path : paths) fmt::print("{}\n", path);
  }
  return kOk;
}

void add_options(CLI::App& command, Arguments& args) {
  GenerateRequest& r = args.request;
  command.add_option("prompt", args.prompts, "what to draw; several prompts make several pictures");
  command.add_option("--model,-m", args.model, "folder of a model bundle, or name of a model")
      ->capture_default_str();
  command.add_option("--negative", r.negative, "what to steer away from, in the negative prompt's place");
  command.add_option("--steps", r.steps, "steps of the solver; default: the model's");
  command.add_option("--guidance", r.guidance, "guidance scale, 1 is off; default: the model's");
  command.add_option("--solver", args.solver, "NAME[:key=value,...]; default: the model's");
  command.add_option(
      "--schedule", args.schedule,
      "leading, trailing, linspace, karras or exponential, then [:key=value,...]: spacing, sigmas, rho, "
      "steps_offset, terminal, shift");
  command.add_option("--rule", args.rule, "guidance rule: NAME[:key=value,...]; default: cfg");
  command
      .add_option("--filter", args.filters,
                  "around the rule: NAME[:key=value,...]; may be repeated, the first is the innermost")
      ->allow_extra_args(false);
  command.add_option("--noise", args.noise, "noise strategy: NAME[:key=value,...]; may be repeated")
      ->allow_extra_args(false);
  command.add_option("--step", args.step, "step strategy: NAME[:key=value,...]; may be repeated")
      ->allow_extra_args(false);
  command.add_option("--attention", args.attention,
                     "dense, pisa[:density=0.15,...] or isa[:...] in the denoiser; default: dense");
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
  command.add_option("--fps", args.files.frames_per_second,
                     "frames per second of a video, 0.1 to 60; default: 16");
  command.add_option("--vae-tile", r.vae_tile,
                     "decode in overlapping tiles of this many px, 0 never; default: in one piece unless the "
                     "picture is large");
  command.add_option("--noise-in", args.noise_in,
                     "safetensors with initial 'noise' [B,C,H,W]; replaces --seed and --count");
  command.add_option("--cond-in", args.cond_in,
                     "safetensors with 'tokens' [L,D] and optional 'pooled', 'null_tokens', 'null_pooled'; "
                     "replaces the prompt");
  command.add_option("--latents-out", args.files.latents, "write 'latents' as safetensors");
  command.add_option("--trajectory-out", args.files.trajectory,
                     "write the 'trajectory' of latents as safetensors");
  command.add_option(
      "--output,-o", args.files.pictures,
      "PNG to write; of a video an animated WebP, PNGs like clip_%04d.png, or a folder of them; "
      "several get -1, -2, ...; default: glint.png, glint.webp");
  command.add_option("--sheet", args.files.sheet, "PNG with all pictures, or all frames, side by side");
  command.add_option("--enlarge", args.files.enlarge, "make pictures this many times as large")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  command.add_option("--device", args.device, "cpu, cuda or cuda:N")->capture_default_str();
  command.add_option("--dtype", args.dtype,
                     "float32, bfloat16 or float16 inside the network; default: the bundle's");
  command.add_option("--threads", args.threads, "CPU threads; default: all")->check(CLI::Range(1, 1024));
  command.add_flag("--effective-guidance", r.effective_guidance,
                   "measure the guidance scale every step amounts to, for --json; 2 more rows a step");
  command.add_flag("--json", args.json, "print one JSON object about the run");
  command.add_flag("--quiet,-q", args.quiet, "no progress, no paths");
}

}  // namespace

void add_generate(CLI::App& app, int& exit_code) {
  auto args = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("generate", "Make pictures from prompts");
  add_options(*command, *args);
  command->callback([args, &exit_code] { exit_code = generate(*args); });
}

}  // namespace glint::cli
