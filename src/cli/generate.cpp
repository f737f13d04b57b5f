// glint generate: pictures from prompts.
#include "cli/cli.hpp"
#include "cli/progress.hpp"

#include <glint/image/png.hpp>
#include <glint/io/safetensors.hpp>
#include <glint/pipeline.hpp>
#include <glint/version.hpp>

#include <ATen/Parallel.h>
#include <ATen/ops/stack.h>
#include <sys/resource.h>
#include <unistd.h>

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
  std::string noise_in, cond_in, latents_out, trajectory_out, output, sheet;
  int64_t enlarge = 1;
  int threads = 0;
  bool json = false, quiet = false;
  GenerateRequest request;
};

/// Returns `--schedule`: [NAME][:key=value,...] where NAME is a spacing or a spread of sigmas.
OptionValues schedule_options(const std::string& text) {
  if (text.empty()) return {};
  Choice choice = parse_choice(text.front() == ':' ? "default" + text : text);
  const auto is_value = [&](const auto& values) {
    return std::find(values.begin(), values.end(), choice.name) != values.end();
  };
  if (is_value(EnumNames<Spacing>::values)) {
    choice.options.emplace("spacing", choice.name);
  } else if (is_value(EnumNames<Sigmas>::values)) {
    choice.options.emplace("sigmas", choice.name);
  } else {
    const std::vector<std::string> known{"default", "leading", "trailing",   "linspace",
                                         "model",   "karras",  "exponential"};
    GLINT_CHECK(choice.name == "default", InvalidArgument, "unknown schedule '{}'{} (known: {})", choice.name,
                did_you_mean(choice.name, known), fmt::join(known, ", "));
  }
  return choice.options;
}

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

/// A path with -1, -2, ... before its extension where there are several pictures.
fs::path numbered(const fs::path& path, size_t index, size_t count) {
  if (count == 1) return path;
  return path.parent_path() /
         fmt::format("{}-{}{}", path.stem().string(), index + 1, path.extension().string());
}

/// Fails now rather than after minutes of sampling.
void check_writable(const std::string& path, std::string_view extension) {
  if (path.empty()) return;
  const fs::path folder = fs::absolute(path).parent_path();
  std::error_code ignored;
  GLINT_CHECK(fs::is_directory(folder, ignored), NotFound, "{}: cannot be written: there is no folder {}",
              path, folder.string());
  GLINT_CHECK(access(folder.c_str(), W_OK) == 0 && !fs::is_directory(path, ignored), InvalidArgument,
              "{}: cannot be written", path);
  GLINT_CHECK(fs::path(path).extension() == extension || !fs::path(path).has_extension() ||
                  fs::is_other(path, ignored),
              InvalidArgument, "{}: expected a {} file", path, extension);
}

void check_outputs(const Arguments& args) {
  for (const std::string* path : {&args.output, &args.sheet}) check_writable(*path, ".png");
  for (const std::string* path : {&args.latents_out, &args.trajectory_out})
    check_writable(*path, ".safetensors");
  std::vector<std::string> names;
  for (const std::string* path : {&args.output, &args.sheet, &args.latents_out, &args.trajectory_out})
    if (!path->empty()) names.push_back(fs::absolute(*path).lexically_normal().string());
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  GLINT_CHECK(twice == names.end(), InvalidArgument, "{}: given for two outputs", *twice);
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
  request.keep_trajectory = !args.trajectory_out.empty();
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
  check_outputs(args);
}

struct Outcome {
  std::vector<Image> images;
  std::vector<PngTexts> texts;
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
  if (!args.lora.empty()) texts["lora"] = fmt::format("{}", fmt::join(args.lora, " "));
  if (!args.noise.empty()) texts["noise"] = fmt::format("{}", fmt::join(args.noise, " "));
  if (!args.step.empty()) texts["step"] = fmt::format("{}", fmt::join(args.step, " "));
  return texts;
}

void add(Outcome& outcome, const Arguments& args, const std::string& prompt, GenerateResult&& result) {
  for (size_t i = 0; i < result.images.size(); ++i) {
    outcome.images.push_back(std::move(result.images[i]));
    outcome.texts.push_back(texts_of(args, prompt, i, result));
  }
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

Outcome run(Arguments& args, const Pipeline& pipeline) {
  Outcome outcome;
  Progress progress(args.quiet);
  args.request.observer = &progress;
  for (const std::string& prompt : args.prompts) {
    args.request.prompt = prompt;
    progress.begin(prompt.empty() ? "glint" : prompt);
    try {
      GenerateResult result = pipeline.generate(args.request);
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

std::vector<std::string> write_files(const Arguments& args, Outcome& outcome) {
  std::vector<std::string> paths;
  if (args.enlarge > 1)
    for (Image& image : outcome.images) image = enlarge(image, args.enlarge);
  const bool single_files = !args.output.empty();
  for (size_t i = 0; single_files && i < outcome.images.size(); ++i) {
    const fs::path path = numbered(args.output, i, outcome.images.size());
    write_png(path, outcome.images[i], outcome.texts[i]);
    paths.push_back(path.string());
  }
  if (!args.sheet.empty() && !outcome.images.empty()) {
    write_png(args.sheet, contact_sheet(outcome.images, {.gap = 4}));
    paths.push_back(args.sheet);
  }
  if (!args.latents_out.empty()) write_safetensors(args.latents_out, {{"latents", at::cat(outcome.latents)}});
  if (!args.trajectory_out.empty()) {
    std::vector<at::Tensor> levels;
    for (size_t i = 0; i < outcome.trajectories.front().size(); ++i) {
      std::vector<at::Tensor> samples;
      for (const auto& trajectory : outcome.trajectories) samples.push_back(trajectory[i]);
      levels.push_back(at::cat(samples));
    }
    write_safetensors(args.trajectory_out, {{"trajectory", at::stack(levels)}});
  }
  return paths;
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
  return {{"images", images},
          {"prompts", args.prompts},
          {"seed", args.request.seed},
          {"steps", outcome.last.sample.steps},
          {"solver", outcome.last.solver},
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
  const Bundle bundle =
      Bundle::load(find_model(args.model),
                   {.device = args.device, .dtype = args.dtype, .attention = !args.attention.empty()});
  const Pipeline pipeline(with_lora(bundle, args.lora, args.request.adapters));
  args.request.decode = pipeline.bundle().has("vae_decoder");
  if (!args.request.decode)
    GLINT_CHECK(!args.latents_out.empty() && args.output.empty() && args.sheet.empty(), InvalidArgument,
                "model '{}' has no decoder: give --latents-out FILE instead of -o",
                pipeline.bundle().manifest().name);
  if (args.request.decode && args.output.empty() && args.sheet.empty()) args.output = "glint.png";
  pipeline.bundle().preload();
  const auto since = [start] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  const double load = since();
  const InterruptGuard guard;
  Outcome outcome = run(args, pipeline);
  if (InterruptGuard::interrupted()) fail(ErrorCode::Cancelled, "cancelled before anything was written");
  const std::vector<std::string> paths = write_files(args, outcome);
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
  command.add_option("--negative", r.negative, "what to steer away from, in the null prompt's place");
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
  command.add_option("--seed", r.seed, "picture k of a prompt is drawn with seed + k")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command.add_option("--count", r.count, "pictures per prompt")->capture_default_str();
  command.add_option("--batch", r.batch, "pictures sampled at once; changes memory and time only")
      ->capture_default_str();
  command.add_option("--width", r.width, "px; default: the model's");
  command.add_option("--height", r.height, "px; default: the model's");
  command.add_option("--frames", r.frames, "frames of a video model");
  command.add_option("--noise-in", args.noise_in,
                     "safetensors with initial 'noise' [B,C,H,W]; replaces --seed and --count");
  command.add_option("--cond-in", args.cond_in,
                     "safetensors with 'tokens' [L,D] and optional 'pooled', 'null_tokens', 'null_pooled'; "
                     "replaces the prompt");
  command.add_option("--latents-out", args.latents_out, "write 'latents' as safetensors");
  command.add_option("--trajectory-out", args.trajectory_out,
                     "write the 'trajectory' of latents as safetensors");
  command.add_option("--output,-o", args.output, "PNG to write; several get -1, -2, ...; default: glint.png");
  command.add_option("--sheet", args.sheet, "PNG with all pictures side by side");
  command.add_option("--enlarge", args.enlarge, "make pictures this many times as large")
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
