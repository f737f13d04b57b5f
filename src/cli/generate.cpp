// glint generate: makes images or videos from prompts.
#include "cli/generate.hpp"
#include "cli/progress.hpp"
#include "cli/terminal.hpp"

#include <glint/io/lines.hpp>
#include <glint/io/safetensors.hpp>
#include <glint/pipeline/pipeline.hpp>

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

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
  if (!args.prompt_file.empty()) {
    for (TextLine& line : read_lines(args.prompt_file, "prompts"))
      args.prompts.push_back(std::move(line.text));
    read_share(args.share, args.model);
  }
  request.keep_trajectory = !args.files.trajectory.empty();
  if (!args.cond_in.empty()) {
    GLINT_CHECK(args.prompts.empty() && args.prompt_file.empty() && !request.negative, InvalidArgument,
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
  request.prompts = args.prompts;
}

/// Whether the denoiser must be loaded with attention layers that can be changed.
bool changes_attention(const GenerateRequest& request) {
  return std::any_of(request.with.begin(), request.with.end(), [](const Method& method) {
    return builtins().entry(method.choice()->name).changes_attention();
  });
}

/// Returns the number of frames per video, 0 for image models.
int64_t frames_of(const GenerateRequest& request, const LatentSpec& latent) {
  if (!latent.frame_scale) return 0;
  const auto frames = [&](int64_t latent_frames) { return (latent_frames - 1) * *latent.frame_scale + 1; };
  if (request.noise.defined() && request.noise.dim() == 5) return frames(request.noise.size(2));
  return std::max<int64_t>(1, request.frames.value_or(frames(latent.frames.value_or(1))));
}

/// Returns the number of images or videos of all prompts that are made, by all processes.
int64_t pictures_of(const Arguments& args) {
  constexpr int64_t kMost = int64_t{1} << 40;  // more than can be numbered; the library says what is too many
  const int64_t each = std::min(pictures_per_prompt(args), kMost);
  return args.only >= 0 ? 1 : each * static_cast<int64_t>(args.prompts.size());
}

std::string label_of(const Arguments& args, const Pictures& some) {
  if (!args.prompt_file.empty()) {
    const Share& share = args.share;
    const std::string process =
        share.ranks > 1 ? fmt::format("process {} of {}: ", share.rank + 1, share.ranks) : "";
    return some.end - some.begin == 1
               ? fmt::format("{}picture {} of {}", process, some.end, pictures_of(args))
               : fmt::format("{}pictures {} to {} of {}", process, some.begin + 1, some.end,
                             pictures_of(args));
  }
  if (args.prompts.size() > 1) return fmt::format("{} prompts", args.prompts.size());
  return args.prompts.front().empty() ? "glint" : args.prompts.front();
}

/// Makes some of the pictures. Each is written when it is decoded; the writer knows which there are.
GenerateResult run_some(const Arguments& args, const Pictures& some, const Pipeline& pipeline,
                        PictureWriter& writer) {
  Progress progress(args.quiet);
  const int64_t each = pictures_per_prompt(args), skipped = some.begin / each;
  const auto prompt = args.request.prompts.begin();
  GenerateRequest request = args.request;
  request.prompts.assign(prompt + skipped, prompt + (some.end - 1) / each + 1);
  request.first = some.begin - skipped * each;
  request.limit = some.end - some.begin;
  request.observer = &progress;
  request.on_decoded = [&](const GenerateResult& made) {
    const bool video = !made.videos.empty();
    const int64_t place = static_cast<int64_t>(video ? made.videos.size() : made.images.size()) - 1;
    const int64_t index = some.begin + place;
    if (args.only >= 0 && index != args.only) return;
    const PngTexts texts = texts_of(args, index, made, pipeline.bundle());
    const auto number = static_cast<size_t>(args.only >= 0 ? 0 : index);
    if (video)
      writer.write(number, made.videos.back(), texts);
    else
      writer.write(number, made.images.back(), texts);
  };
  progress.begin(label_of(args, some));
  return pipeline.generate(request);
}

/// Adds what is still of use once the pictures are written.
void append(GenerateResult& all, GenerateResult&& some, const OutputFiles& files) {
  if (!files.sheet.empty()) {
    std::move(some.images.begin(), some.images.end(), std::back_inserter(all.images));
    std::move(some.videos.begin(), some.videos.end(), std::back_inserter(all.videos));
  }
  if (files.latents.empty()) some.sample.latents = at::empty({some.sample.latents.size(0), 0});
  all.sample.append(std::move(some.sample));
  all.solver = some.solver;
  all.rule = some.rule;
  all.guidance = some.guidance;
  all.vae_tile = some.vae_tile;
  all.negative_without_effect = some.negative_without_effect;
  for (const auto& [stage, seconds] : some.seconds) all.seconds[stage] += seconds;
  std::move(some.prompts.begin(), some.prompts.end(), std::back_inserter(all.prompts));
}

/// Makes this process's pictures: those of a prompt file batch by batch, so that memory does not grow with
/// it.
void run(const Arguments& args, const Pipeline& pipeline, PictureWriter& writer, GenerateResult& result) {
  const Pictures mine = sampled_pictures(args);
  const int64_t portion = args.prompt_file.empty() ? mine.end - mine.begin : args.request.batch;
  for (int64_t begin = mine.begin; begin < mine.end; begin += portion)
    append(result, run_some(args, {begin, std::min(begin + portion, mine.end)}, pipeline, writer),
           args.files);
}

/// Drops what is told of all but the picture to keep from a repeated batch. The cost stays the batch's.
void keep_only(const Arguments& args, GenerateResult& result) {
  if (args.only < 0) return;
  const int64_t row = args.only - args.request.first;
  const auto keep = [row](auto& list) {
    if (static_cast<size_t>(row) < list.size()) list = {std::move(list[static_cast<size_t>(row)])};
  };
  keep(result.images);
  keep(result.videos);
  keep(result.sample.effective_guidance);
}

void write_tensors(const Arguments& args, const SampleResult& sample) {
  const OutputFiles& files = args.files;
  const auto kept = [&args](const at::Tensor& samples, int64_t dim) {
    return args.only < 0 ? samples : samples.narrow(dim, args.only - args.request.first, 1);
  };
  if (!files.latents.empty())
    write_safetensors(real_path(files.latents), {{"latents", kept(sample.latents, 0)}});
  if (!files.trajectory.empty())
    write_safetensors(real_path(files.trajectory), {{"trajectory", kept(at::stack(sample.trajectory), 1)}});
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
  if (args.share.ranks > 1)
    for (const auto& [option, path] : {std::pair{"--sheet", &files.sheet},
                                       {"--latents-out", &files.latents},
                                       {"--trajectory-out", &files.trajectory}})
      GLINT_CHECK(path->empty(), InvalidArgument,
                  "{}: needs all pictures, and {} processes share them (WORLD_SIZE)", option,
                  args.share.ranks);
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

}  // namespace

int generate(GenerateArguments& args) {
  const auto start = std::chrono::steady_clock::now();
  if (!args.from.empty()) repeat_from(args);
  if (args.threads > 0) at::set_num_threads(args.threads);
  fill_request(args);
  const Bundle bundle = open_model(args.model, changes_attention(args.request), args.quiet);
  if (!args.from.empty()) check_recorded(args, bundle);
  const Pipeline pipeline(with_lora(bundle, args.lora, args.request.adapters));
  prepare(args, pipeline);
  const auto since = [start] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  const double load = since();
  const InterruptGuard guard;
  PictureWriter writer(args.files, static_cast<size_t>(pictures_of(args)));
  GenerateResult result{.seconds = {{"encode", 0}, {"noise", 0}, {"sample", 0}, {"decode", 0}}};
  Ending ending;
  try {
    run(args, pipeline, writer, result);
    if (!args.quiet) report_words(result.prompts);
    if (!args.quiet && result.negative_without_effect)
      spdlog::warn("the negative prompt has no effect: at guidance {} nothing in this run evaluates it",
                   result.guidance);
    keep_only(args, result);
    writer.write_sheet(result.images, result.videos);
    write_tensors(args, result.sample);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::Cancelled && !result.sample.latents.defined() && writer.paths().empty() &&
        error.code() != ErrorCode::Io)
      throw;
    const Pictures mine = sampled_pictures(args);
    ending = ending_of(error, writer, args.only >= 0 ? 1 : mine.end - mine.begin);
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

int64_t pictures_per_prompt(const GenerateArguments& args) {
  const at::Tensor& noise = args.request.noise;
  return noise.defined() && noise.dim() > 0 ? noise.size(0) : args.request.count;
}

Pictures sampled_pictures(const GenerateArguments& args) {
  const GenerateRequest& request = args.request;
  if (args.only >= 0) return {request.first, request.first + request.limit.value_or(1)};
  return share_of(args.share, pictures_of(args), request.batch);
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

}  // namespace glint::cli
