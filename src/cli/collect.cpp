// glint collect: collects training data for CoRe2's weak network and for golden-noise networks.
#include "cli/cli.hpp"
#include "cli/progress.hpp"
#include "cli/terminal.hpp"

#include <glint/collect/noise_pairs.hpp>
#include <glint/collect/trajectories.hpp>
#include <glint/pipeline/pipeline.hpp>

#include <ATen/Parallel.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <sstream>
#include <system_error>

namespace glint::cli {
namespace {

using Json = nlohmann::ordered_json;

struct CollectArguments {
  ModelArguments model;
  std::string prompt_file, solver, schedule, stored = "float16";
  int threads = 0;
  bool json = false, quiet = false;
  CollectRequest request;
  std::map<std::string, std::string> pair_options;  ///< by name, unparsed
};

/// Reads a whole file or pipe. Not a stream, which takes a failed read for the end.
std::string read_all(const std::string& path) {
  const auto checked = [&](ssize_t result) {
    GLINT_CHECK(result >= 0 || errno != ENOENT, NotFound, "{}: cannot be read: there is no such file", path);
    GLINT_CHECK(result >= 0, Io, "{}: cannot be read: {}", path, std::generic_category().message(errno));
    return static_cast<size_t>(result);
  };
  struct Closing {
    int descriptor;
    ~Closing() { ::close(descriptor); }
  };
  const Closing file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  checked(file.descriptor);
  std::string text, piece(size_t{1} << 16, '\0');
  while (true) {
    ssize_t got = 0;
    do {
      got = ::read(file.descriptor, piece.data(), piece.size());
    } while (got < 0 && errno == EINTR);
    if (checked(got) == 0) return text;
    text.append(piece, 0, static_cast<size_t>(got));
  }
}

/// Reads prompts from a file, one per line; skips blank lines.
std::vector<std::string> read_prompts(const std::string& path) {
  std::istringstream file(read_all(path));
  std::vector<std::string> prompts;
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  for (std::string line; std::getline(file, line);) {
    if (prompts.empty() && line.starts_with(kByteOrderMark)) line.erase(0, kByteOrderMark.size());
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.find_first_not_of(" \t") != std::string::npos) prompts.push_back(line);
  }
  GLINT_CHECK(!prompts.empty(), InvalidArgument, "{}: expected prompts, one per line, got none", path);
  return prompts;
}

void fill_request(CollectArguments& args) {
  CollectRequest& request = args.request;
  if (!args.prompt_file.empty())
    for (std::string& prompt : read_prompts(args.prompt_file))
      request.generate.prompts.push_back(std::move(prompt));
  if (!args.solver.empty()) request.generate.solver = parse_choice(args.solver);
  request.generate.schedule = schedule_options(args.schedule);
  request.stored = args.stored == "float32" ? StoredType::Float32 : StoredType::Float16;
}

/// Reports progress: a line redrawn in place on a terminal, elsewhere a line every 10 %.
class CollectReport {
 public:
  explicit CollectReport(bool quiet) : quiet_(quiet), redraws_(can_redraw()) {}
  ~CollectReport() {
    if (!quiet_ && redraws_) redraw("");
  }
  CollectReport(const CollectReport&) = delete;
  CollectReport& operator=(const CollectReport&) = delete;

  void operator()(const CollectProgress& p) {
    const int64_t tenth = 10 * p.done / p.total;
    if (quiet_ || (!redraws_ && tenth == shown_)) return;
    shown_ = tenth;
    const std::string kept = p.kept == p.done ? "" : fmt::format(", {} kept", p.kept);
    const std::string line = fmt::format("{}/{} items{}", p.done, p.total, kept);
    redraws_ ? redraw(line) : say("{}\n", line);
  }

 private:
  bool quiet_, redraws_;
  int64_t shown_ = 0;
};

/// Stops the collection after Ctrl-C.
class Interruptible final : public Observer {
 public:
  bool keep_going() override { return !InterruptGuard::interrupted(); }
};

using Collect = std::function<CollectResult(const Pipeline&, const CollectArguments&)>;

int collect(CollectArguments& args, const Collect& run) {
  if (args.threads > 0) at::set_num_threads(args.threads);
  fill_request(args);
  const Pipeline pipeline(open_model(args.model, false, args.quiet));
  const InterruptGuard guard;
  Interruptible observer;
  args.request.generate.observer = &observer;
  CollectResult result;
  try {
    CollectReport report(args.quiet);
    args.request.progress = [&report](const CollectProgress& p) { report(p); };
    result = run(pipeline, args);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::Cancelled) throw;
    spdlog::error("cancelled; the same command continues where this one stopped");
    return 128 + InterruptGuard::signal();
  }
  if (!args.quiet && !result.unknown_words.empty())
    spdlog::warn("the model does not know: {} (they count as one unknown word)",
                 joined_text(result.unknown_words, ", "));
  if (!args.quiet && !result.dropped_words.empty())
    spdlog::warn("beyond a prompt's length and without effect: {}", joined_text(result.dropped_words, ", "));
  if (args.json) {
    const Json report = {{"folder", args.request.folder.string()},
                         {"items", result.items},
                         {"kept", result.kept},
                         {"shards", result.shards},
                         {"resumed_items", result.resumed_items},
                         {"calls", result.usage.calls},
                         {"rows", result.usage.rows},
                         {"seconds", result.usage.seconds},
                         {"versions", versions()}};
    print_json(report);
  } else if (!args.quiet) {
    print("{}: {} of {} items kept in {} shards\n", args.request.folder.string(), result.kept, result.items,
          result.shards);
  }
  return kOk;
}

void add_options(CLI::App& command, CollectArguments& args) {
  CollectRequest& r = args.request;
  command.add_option("prompt", r.generate.prompts, "what to draw; before those of --prompts");
  command.add_option("--prompts", args.prompt_file, "text file or pipe with one prompt per line");
  command
      .add_option("--output,-o", r.folder, "folder to collect into; a collection begun there is continued")
      ->required();
  add_model_options(command, args.model);
  command.add_option("--negative", r.generate.negative, "what to steer away from");
  command.add_option("--steps", r.generate.steps, "steps of the solver; default: the model's");
  command.add_option("--guidance", r.generate.guidance, "guidance scale; default: the model's");
  command.add_option("--solver", args.solver, "NAME[:key=value,...]; default: the model's");
  command.add_option("--schedule", args.schedule, "as for generate");
  command.add_option("--seed", r.generate.seed, "item k is drawn with seed + k")->capture_default_str();
  command.add_option("--count", r.generate.count, "noises per prompt")->capture_default_str();
  command.add_option("--batch", r.generate.batch, "items sampled at once")->capture_default_str();
  command
      .add_option("--shard", r.shard,
                  "items per file: what is kept in memory, and lost by a run that is killed")
      ->capture_default_str();
  command.add_option("--stored", args.stored, "dtype of latents and predictions in the files")
      ->check(CLI::IsMember({"float16", "float32"}))
      ->capture_default_str();
  command.add_option("--width", r.generate.width, "px; default: the model's");
  command.add_option("--height", r.generate.height, "px; default: the model's");
  command.add_option("--frames", r.generate.frames, "frames of a video model");
  command.add_option("--threads", args.threads, "CPU threads; default: all")->check(CLI::Range(1, 1024));
  command.add_flag("--json", args.json, "print one JSON object about the run");
  command.add_flag("--quiet,-q", args.quiet, "no progress, no summary");
}

/// Adds the reflection's options from their descriptions; guidance_inverse becomes --guidance-inverse.
void add_pair_options(CLI::App& command, CollectArguments& args) {
  for (const OptionDescription& o : describe_options<NoisePairOptions>()) {
    std::string flag = "--" + o.name;
    std::replace(flag.begin(), flag.end(), '_', '-');
    const std::string choices = o.choices.empty() ? "" : fmt::format(": {}", joined_text(o.choices, ", "));
    const std::string fallback = o.default_value.empty() ? "" : fmt::format(" [{}]", o.default_value);
    command.add_option_function<std::string>(
        flag, [&args, name = o.name](const std::string& text) { args.pair_options[name] = text; },
        o.help + choices + fallback);
  }
}

NoisePairOptions pair_options(const CollectArguments& args) {
  OptionValues values;
  for (const auto& [name, text] : args.pair_options) values.emplace(name, text);
  return read_options<NoisePairOptions>("noise-pairs", values);
}

}  // namespace

void add_collect(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("collect", "Collect training data from a model's own runs");
  command->require_subcommand(1);
  command->footer(
      "Examples:\n"
      "  glint collect trajectories \"red apple\" --count 8 -o apples\n"
      "  glint collect trajectories --prompts prompts.txt --guidance 4 -o trajectories\n"
      "  glint collect noise-pairs --prompts prompts.txt --guidance-inverse 0 -o pairs");
  const auto add = [&](const char* name, const char* what, Collect run) {
    auto args = std::make_shared<CollectArguments>();
    args->request.generate.prompts.clear();
    CLI::App* kind = command->add_subcommand(name, what);
    add_options(*kind, *args);
    kind->callback([args, run, &exit_code] { exit_code = collect(*args, run); });
    return std::pair(kind, args);
  };
  add("trajectories", "Predictions with and without the prompt along sampling, for CoRe2's weak network",
      [](const Pipeline& pipeline, const CollectArguments& args) {
        return collect_trajectories(pipeline, args.request);
      });
  const auto [pairs, args] =
      add("noise-pairs", "Noises and reflected ones that the scorer prefers, for a golden-noise network",
          [](const Pipeline& pipeline, const CollectArguments& a) {
            return collect_noise_pairs(pipeline, a.request, pair_options(a));
          });
  add_pair_options(*pairs, *args);
}

}  // namespace glint::cli
