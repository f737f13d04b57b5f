// glint generate: makes images or videos from prompts.
#include "cli/generate.hpp"
#include "cli/progress.hpp"
#include "cli/terminal.hpp"

#include <glint/io/safetensors.hpp>

#include <ATen/Parallel.h>
#include <ATen/ops/stack.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>

namespace glint::cli {
namespace {

namespace fs = std::filesystem;
using Arguments = GenerateArguments;

/// Applies `--lora`: sets the request's scales and returns the bundle with the added files.
Bundle with_lora(const Bundle& bundle, const std::vector<std::string>& given, Adapters& scales) {
  std::map<std::string, AdapterSource> files;
  for (const std::string& text : given) {
    const LoraArgument lora = lora_argument(text);
    const std::string& what = lora.file;
    const bool own = bundle.manifest().adapters.contains(what);
    const std::string name = own ? what : lora.name;
    std::error_code ignored;
    if (!own && !fs::is_regular_file(what, ignored)) {
      std::vector<std::string> known;
      for (const auto& [adapter, unused] : bundle.manifest().adapters) known.push_back(adapter);
      fail(ErrorCode::NotFound, "--lora: neither a file nor an adapter of the model: '{}'{}", what,
           did_you_mean(what, known));
    }
    GLINT_CHECK(!own || !lora.partial, InvalidArgument,
                "--lora: '{}': partial is for files; '{}' is the model's own adapter", text, what);
    GLINT_CHECK(scales.emplace(name, lora.scale).second, InvalidArgument,
                "--lora: '{}' is given twice; another file of that name can be given as NAME={}", name, text);
    if (!own) files.emplace(name, AdapterSource(what, lora.partial));
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

/// Returns the number of images or videos of all prompts that are made.
int64_t pictures_of(const Arguments& args) {
  const GenerateRequest& request = args.request;
  constexpr int64_t kMost = int64_t{1} << 40;  // more than can be numbered; the library says what is too many
  const int64_t each = std::min(pictures_per_prompt(args), kMost);
  const int64_t all = each * static_cast<int64_t>(args.prompts.size());
  return args.only >= 0 ? 1 : std::min(all, request.limit.value_or(all));
}

/// Runs the request. Every picture is written when it is decoded; the writer knows which there are.
GenerateResult run(const Arguments& args, const Pipeline& pipeline, PictureWriter& writer) {
  Progress progress(args.quiet);
  GenerateRequest request = args.request;
  request.observer = &progress;
  request.on_decoded = [&](const GenerateResult& made) {
    const bool video = !made.videos.empty();
    const size_t place = (video ? made.videos.size() : made.images.size()) - 1;
    const int64_t index = request.first + static_cast<int64_t>(place);
    if (args.only >= 0 && index != args.only) return;
    const PngTexts texts = texts_of(args, index, made, pipeline.bundle());
    const size_t number = args.only >= 0 ? 0 : place;
    if (video)
      writer.write(number, made.videos.back(), texts);
    else
      writer.write(number, made.images.back(), texts);
  };
  const std::string& first = args.prompts.front();
  progress.begin(args.prompts.size() > 1 ? fmt::format("{} prompts", args.prompts.size())
                 : first.empty()         ? "glint"
                                         : first);
  return pipeline.generate(request);
}

/// Drops all but the picture to keep from a repeated batch.
void keep_only(const Arguments& args, GenerateResult& result) {
  if (args.only < 0) return;
  const int64_t row = args.only - args.request.first;
  const auto keep = [row](auto& list) {
    if (static_cast<size_t>(row) < list.size()) list = {std::move(list[static_cast<size_t>(row)])};
  };
  keep(result.images);
  keep(result.videos);
  keep(result.sample.effective_guidance);
  result.sample.latents = result.sample.latents.narrow(0, row, 1);
  for (at::Tensor& latents : result.sample.trajectory) latents = latents.narrow(0, row, 1);
}

void write_tensors(const OutputFiles& files, const SampleResult& sample) {
  if (!files.latents.empty()) write_safetensors(real_path(files.latents), {{"latents", sample.latents}});
  if (!files.trajectory.empty())
    write_safetensors(real_path(files.trajectory), {{"trajectory", at::stack(sample.trajectory)}});
}

/// Checks the outputs, and then with the model loaded everything else that can be known before sampling.
void prepare(Arguments& args, const Pipeline& pipeline) {
  OutputFiles& files = args.files;
  args.frames = frames_of(args.request, pipeline.bundle().manifest().latent);
  args.request.decode = pipeline.bundle().has("vae_decoder");
  if (!args.request.decode)
    GLINT_CHECK(!files.latents.empty() && files.pictures.empty() && files.sheet.empty(), InvalidArgument,
                "model '{}' has no decoder: give --latents-out FILE instead of -o",
                pipeline.bundle().manifest().name);
  if (args.request.decode && files.pictures.empty() && files.sheet.empty())
    files.pictures = args.frames > 0 ? "glint.webp" : "glint.png";
  GLINT_CHECK(!args.json || !to_standard_output(files), InvalidArgument,
              "--json: standard output is for the picture; give -o a file");
  check_outputs(files, args.frames, pictures_of(args));
  pipeline.preload(args.request);
  const PictureSize size = pipeline.resolve(args.request).size;
  if (args.request.decode) check_sizes(files, args.frames, pictures_of(args), size.width, size.height);
}

/// The exit code and the message of a run that an exception ended after sampling had begun. What was wrong
/// with the arguments is known before that.
struct Ending {
  int exit_code = kOk;
  std::string message = {};
};

Ending ending_of(const Error& error, const PictureWriter& writer, int64_t pictures) {
  const std::string kept = writer.paths().empty()
                               ? "nothing was written"
                               : fmt::format("{} of {} were written", writer.paths().size(), pictures);
  if (error.code() != ErrorCode::Cancelled) return {kFailed, fmt::format("{} ({})", error.what(), kept)};
  return {128 + InterruptGuard::signal(), fmt::format("cancelled: {}", kept)};
}

int generate(Arguments& args) {
  const auto start = std::chrono::steady_clock::now();
  if (!args.from.empty()) repeat_from(args);
  if (args.threads > 0) at::set_num_threads(args.threads);
  fill_request(args);
  const Bundle bundle = open_model(args.model, has_attention(args.request), args.quiet);
  if (!args.from.empty()) check_recorded(args, bundle);
  const Pipeline pipeline(with_lora(bundle, args.lora, args.request.adapters));
  prepare(args, pipeline);
  const auto since = [start] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  const double load = since();
  const InterruptGuard guard;
  PictureWriter writer(args.files, static_cast<size_t>(pictures_of(args)));
  GenerateResult result;
  Ending ending;
  try {
    result = run(args, pipeline, writer);
    if (!args.quiet) report_words(result.prompts);
    if (!args.quiet && result.negative_without_effect)
      spdlog::warn("the negative prompt has no effect: at guidance {} nothing in this run evaluates it",
                   result.guidance);
    keep_only(args, result);
    writer.write_sheet(result.images, result.videos);
    write_tensors(args.files, result.sample);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::Cancelled && !result.sample.latents.defined() && writer.paths().empty() &&
        error.code() != ErrorCode::Io)
      throw;
    ending = ending_of(error, writer, pictures_of(args));
  }
  result.seconds["load"] = load;
  result.seconds["total"] = since();
  if (args.json) {
    print_json(report_of(args, result, writer.paths(), ending.message));
  } else if (!args.quiet && !to_standard_output(args.files)) {
    for (const std::string& path : writer.paths()) print("{}\n", path);
  }
  if (ending.exit_code != kOk) spdlog::error("{}", ending.message);
  return ending.exit_code;
}

/// --prompt-2 for prompt_2.
std::string prompt_option(const PromptField& field) {
  std::string option = "--" + std::string(field.name);
  std::replace(option.begin(), option.end(), '_', '-');
  return option;
}

void add_sampling_options(CLI::App& command, Arguments& args) {
  GenerateRequest& r = args.request;
  command.add_option("prompt", args.prompts, "what to draw; several prompts make several pictures");
  add_model_options(command, args.model);
  add_request_options(command, r, args.solver, args.schedule, args.threads);
  for (const PromptField& field : prompt_fields()) {
    const std::string name(field.name);
    command.add_option_function<std::string>(
        prompt_option(field), [&r, name](const std::string& text) { set_prompt_field(r.text, name, text); },
        std::string(field.help));
  }
  command
      .add_option("--with", args.with,
                  "a strategy, rule, filter, attention or cache: NAME[:key=value,...]; may be repeated; "
                  "'glint list' has the names")
      ->allow_extra_args(false);
  command
      .add_option(
          "--lora", args.lora,
          "[NAME=]FILE[:scale][:partial], a safetensors file or PEFT's folder, or an adapter of the "
          "model by NAME[:scale]; default scale: 1; may be repeated. Strategies call a file's adapter "
          "by NAME, or else by the file's name without folder and extension. With partial, what "
          "matches nothing in the model is left out with a warning")
      ->allow_extra_args(false);
  command.add_option("--seed", r.seed, "picture k of a prompt is drawn with seed + k")->capture_default_str();
  command.add_option("--count", r.count, "pictures per prompt")->capture_default_str();
  command
      .add_option("--batch", r.batch,
                  "pictures sampled at once; changes memory and time, and pictures by rounding only")
      ->capture_default_str();
  command.add_option("--frames", r.frames, "frames of a video; default: the model's");
  command.add_option("--noise-in", args.noise_in,
                     "safetensors with initial 'noise' [B,C,H,W]; replaces --seed and --count");
  command.add_option("--cond-in", args.cond_in,
                     "safetensors with 'tokens' [L,D] and optional 'pooled', 'null_tokens', 'null_pooled'; "
                     "replaces the prompt");
  CLI::Option* from = command.add_option(
      "--from", args.from,
      "repeat the run that made this picture, from what is stored in it, and keep the same picture");
  for (const char* other : {"prompt", "--negative", "--steps", "--guidance", "--with", "--solver",
                            "--schedule", "--lora", "--seed", "--count", "--batch", "--width", "--height",
                            "--frames", "--noise-in", "--cond-in", "--device", "--dtype", "--pack"})
    from->excludes(other);
  for (const PromptField& field : prompt_fields()) from->excludes(prompt_option(field));
}

void add_output_options(CLI::App& command, Arguments& args) {
  OutputFiles& files = args.files;
  command.add_option(
      "--output,-o", files.pictures,
      "PNG or WebP to write; of a video an animated WebP, PNGs like clip_%04d.png, or a folder of them; "
      "several get -1, -2, ...; - or webp:- is standard output; default: glint.png, glint.webp");
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
  command.add_flag("--effective-guidance", args.request.effective_guidance,
                   "measure the guidance scale every step amounts to, for --json; 2 more rows a step");
  command.add_flag("--json", args.json, "print one JSON object about the run");
  command.add_flag("--quiet,-q", args.quiet, "no progress, no paths");
}

}  // namespace

int64_t pictures_per_prompt(const GenerateArguments& args) {
  const at::Tensor& noise = args.request.noise;
  return noise.defined() && noise.dim() > 0 ? noise.size(0) : args.request.count;
}

namespace {

/// Splits [NAME=]FILE.
LoraArgument named_lora(const std::string& given) {
  std::error_code ignored;
  const size_t equals = given.find('=');
  const std::string before = given.substr(0, equals);
  const bool named = equals != std::string::npos && equals > 0 && before.find('/') == std::string::npos &&
                     !fs::exists(given, ignored);
  const fs::path file = named ? given.substr(equals + 1) : given;
  if (!fs::is_directory(file, ignored))
    return {.name = named ? before : file.stem().string(), .file = file.string()};
  const fs::path folder = file.has_filename() ? file : file.parent_path();
  return {.name = named ? before : folder.filename().string(),
          .file = (folder / "adapter_model.safetensors").string()};
}

/// Returns the scale behind a colon, or nullopt if what is there belongs to a file's name.
std::optional<double> lora_scale(const std::string& given, size_t colon) {
  std::string scale = given.substr(colon + 1);
  if (scale.starts_with('+') && !scale.starts_with("+-")) scale.erase(0, 1);
  const std::optional<double> number = detail::number_in(scale);
  const bool meant = scale.find_first_not_of("0123456789.,+-eEinfa ") == std::string::npos;
  GLINT_CHECK(number || !meant, InvalidArgument,
              "--lora: expected a number after the colon of '{}', such as {}:0.8, got '{}'", given,
              given.substr(0, colon), scale);
  GLINT_CHECK(!number || std::isfinite(*number), InvalidArgument,
              "--lora: expected a finite number after the colon of '{}', got '{}'", given, scale);
  return number;
}

}  // namespace

LoraArgument lora_argument(const std::string& given) {
  std::string rest = given;
  std::optional<double> scale;
  bool partial = false;
  std::error_code ignored;
  for (size_t colon = rest.rfind(':'); colon != std::string::npos && !fs::exists(rest, ignored);
       colon = rest.rfind(':')) {
    const bool word = !partial && rest.substr(colon + 1) == "partial";
    const std::optional<double> number = word || scale ? std::nullopt : lora_scale(rest, colon);
    if (!word && !number) break;
    partial = partial || word;
    if (number) scale = number;
    rest.erase(colon);
  }
  LoraArgument lora = named_lora(rest);
  lora.scale = scale.value_or(1.0);
  lora.partial = partial;
  return lora;
}

void add_generate(CLI::App& app, int& exit_code) {
  auto args = std::make_shared<GenerateArguments>();
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
