// glint compare: one labelled contact sheet of several methods on the same prompt and seeds.
#include "cli/compare.hpp"
#include "cli/progress.hpp"
#include "cli/terminal.hpp"

#include <glint/catalog/scorer.hpp>
#include <glint/eval/arm.hpp>
#include <glint/image/image_file.hpp>
#include <glint/image/label.hpp>
#include <glint/pipeline/pipeline.hpp>

#include <ATen/Parallel.h>
#include <ATen/ops/stack.h>
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <span>

namespace glint::cli {
namespace {

using Json = nlohmann::ordered_json;

/// One method's pictures and figures.
struct Column {
  Arm arm;
  GenerateResult made;
  std::map<std::string, std::vector<double>> scores = {};  // by scorer, one per picture
  double evaluations = 0.0;
};

std::vector<Arm> arms_of(const CompareArguments& args) {
  std::vector<Arm> arms{Arm{.name = "plain"}};
  for (const std::string& line : args.with) arms.push_back(parse_arm(line));
  return arms;
}

/// Returns the scorers asked for; without any, the model's own if it has one.
std::vector<Scorer> scorers_of(const CompareArguments& args, const Bundle& bundle) {
  constexpr const char* kOwn = "scorer";
  std::vector<std::string> names = args.scorers;
  if (names.empty() && bundle.has(kOwn)) names.emplace_back(kOwn);
  return open_scorers(bundle, names);
}

Column column_of(const CompareArguments& args, const Pipeline& pipeline, const Arm& arm,
                 const std::vector<Scorer>& scorers) {
  Progress progress(args.quiet);
  GenerateRequest request = with_arm(args.request, arm);
  request.observer = &progress;
  progress.begin(arm.name);
  Column column{.arm = arm, .made = pipeline.generate(request)};
  progress.end();
  const SampleResult& sample = column.made.sample;
  const auto measuring = sample.by_stage.find("effective-guidance");
  const int64_t measured = measuring == sample.by_stage.end() ? 0 : measuring->second.rows;
  const auto pictures = static_cast<double>(column.made.images.size());
  column.evaluations = static_cast<double>(sample.usage.rows - measured) / pictures;
  if (scorers.empty()) return column;
  std::vector<at::Tensor> tensors;
  for (const Image& image : column.made.images) tensors.push_back(to_tensor(image));
  const Prompt prompt = pipeline.encode(pipeline.resolve(request), request, args.prompt);
  for (const Scorer& scorer : scorers) {
    const at::Tensor scores = scorer(at::stack(tensors), prompt, std::span(&args.prompt, 1));
    const double* first = scores.data_ptr<double>();
    column.scores[scorer.name()] = std::vector<double>(first, first + scores.numel());
  }
  return column;
}

/// Returns what is written under a picture.
std::vector<std::string> label_of(const CompareArguments& args, const Column& column, size_t picture) {
  std::vector<std::string> lines{fmt::format("seed {}", args.request.seed + picture),
                                 fmt::format("{:g} evaluations", column.evaluations)};
  const auto& guidance = column.made.sample.effective_guidance;
  if (!guidance.empty()) lines.push_back(fmt::format("scale {:.2f}", guidance[picture].mean_signed_scale));
  for (const auto& [scorer, scores] : column.scores)
    lines.push_back(fmt::format("{} {:.3f}", scorer, scores[picture]));
  return lines;
}

/// Returns the two images above each other.
Image stacked(const Image& top, const Image& bottom) {
  Image result = top;
  result.height += bottom.height;
  result.pixels.insert(result.pixels.end(), bottom.pixels.begin(), bottom.pixels.end());
  return result;
}

/// Returns the image with a white margin.
Image framed(const Image& image, int64_t margin) {
  Image result{.width = image.width + 2 * margin, .height = image.height + 2 * margin};
  result.pixels.assign(static_cast<size_t>(3 * result.width * result.height), 255);
  for (int64_t y = 0; y < image.height; ++y)
    std::copy_n(image.pixels.begin() + 3 * y * image.width, 3 * image.width,
                result.pixels.begin() + 3 * ((y + margin) * result.width + margin));
  return result;
}

Image sheet_of(const CompareArguments& args, const std::vector<Column>& columns) {
  constexpr int64_t kReadable = 320, kTextWidth = 160, kGap = 12;  // px
  const int64_t width = columns.front().made.images.front().width;
  const int64_t factor =
      args.enlarge > 0 ? args.enlarge : std::max<int64_t>(1, (kReadable + width - 1) / width);
  const int64_t scale = std::max<int64_t>(1, width * factor / kTextWidth);
  const int64_t characters = std::max<int64_t>(1, width * factor / (kTextAdvance * scale));
  const auto cell = [&](const Image& image, const std::vector<std::string>& texts) {
    std::vector<std::string> lines;
    for (const std::string& text : texts)
      for (std::string& line : wrapped(text, characters)) lines.push_back(std::move(line));
    return labelled(image, lines, scale);
  };
  std::vector<Image> heads, cells;
  for (const Column& column : columns)
    heads.push_back(cell(Image{.width = width * factor, .height = 0}, {column.arm.name}));
  for (size_t row = 0; row < columns.front().made.images.size(); ++row)
    for (const Column& column : columns)
      cells.push_back(cell(enlarge(column.made.images[row], factor), label_of(args, column, row)));
  const SheetOptions layout{.columns = static_cast<int64_t>(columns.size()), .gap = kGap};
  const Image grid = stacked(contact_sheet(heads, layout), contact_sheet(cells, layout));
  const std::string title = fmt::format("{}, {}", args.prompt, args.model.name);
  const Image top =
      labelled(Image{.width = grid.width, .height = 0},
               wrapped(title, std::max<int64_t>(1, grid.width / (kTextAdvance * scale))), scale);
  return framed(stacked(top, grid), kGap);
}

Json to_json(const CompareArguments& args, const std::vector<Column>& columns) {
  Json list = Json::array();
  for (const Column& column : columns) {
    Json scales = nullptr;
    for (const EffectiveGuidance& guidance : column.made.sample.effective_guidance)
      scales.push_back(guidance.mean_signed_scale);
    list.push_back({{"method", column.arm.name},
                    {"steps", column.made.sample.steps},
                    {"guidance", column.made.guidance},
                    {"evaluations", column.evaluations},
                    {"effective_guidance_scale", scales},
                    {"scores", column.scores},
                    {"seconds", column.made.seconds.at("sample")}});
  }
  return {{"sheet", args.files.sheet},
          {"prompt", args.prompt},
          {"seed", args.request.seed},
          {"columns", list},
          {"versions", versions()}};
}

/// Loads what a method needs. Errors name the method.
void preload(const Pipeline& pipeline, const GenerateRequest& request, const Arm& arm) {
  try {
    pipeline.preload(with_arm(request, arm));
  } catch (const Error& error) {
    fail(error.code(), "'{}': {}", arm.name, error.what());
  }
}

}  // namespace

int compare(CompareArguments& args) {
  if (args.threads > 0) at::set_num_threads(args.threads);
  GenerateRequest& request = args.request;
  request.prompts = {args.prompt};
  if (!args.solver.empty()) request.solver = parse_choice(args.solver);
  request.schedule = schedule_options(args.schedule);
  const std::vector<Arm> arms = arms_of(args);
  const bool attention =
      std::any_of(arms.begin(), arms.end(), [](const Arm& a) { return changes_attention(a); });
  const Pipeline pipeline(open_model(args.model, attention, args.quiet));
  const Manifest& manifest = pipeline.bundle().manifest();
  GLINT_CHECK(!manifest.latent.frame_scale, InvalidArgument,
              "model '{}' makes videos; compare takes pictures", manifest.name);
  request.effective_guidance = manifest.guidance.uncond_branch;
  check_outputs(args.files, 0, 1);
  const bool printed = to_standard_output(args.files);
  GLINT_CHECK(!args.json || !printed, InvalidArgument,
              "--json: standard output is for the picture; give -o a file");
  for (const Arm& arm : arms) preload(pipeline, request, arm);
  const auto scorers = scorers_of(args, pipeline.bundle());
  const InterruptGuard guard;
  std::vector<Column> columns;
  try {
    for (const Arm& arm : arms) columns.push_back(column_of(args, pipeline, arm, scorers));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::Cancelled) throw;
    spdlog::error("cancelled: nothing was written");
    return 128 + InterruptGuard::signal();
  }
  if (!args.quiet) report_words(columns.front().made.prompts);
  write_image(real_path(args.files.sheet), sheet_of(args, columns),
              {{"prompt", args.prompt}, {"model", args.model.name}, {"seed", std::to_string(request.seed)}});
  if (args.json) {
    print_json(to_json(args, columns));
  } else if (!args.quiet && !printed) {
    print("{}\n", args.files.sheet);
  }
  return kOk;
}

}  // namespace glint::cli
