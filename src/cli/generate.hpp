// What the parts of `glint generate` share.
#pragma once

#include "cli/cli.hpp"
#include "cli/outputs.hpp"
#include "cli/share.hpp"

#include <glint/pipeline/request.hpp>
#include <glint/pipeline/share.hpp>

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace glint::cli {

/// The command's arguments, and what follows from them.
struct GenerateArguments {
  std::vector<std::string> prompts;
  std::string prompt_file;
  Share share;  // of the pictures of a prompt file
  ModelArguments model;
  std::string solver, schedule;
  std::vector<std::string> with, lora;
  std::string noise_in, cond_in, from;
  OutputFiles files;
  int64_t frames = 0;  // per video; 0 for image models
  int threads = 0;
  bool json = false, quiet = false;
  GenerateRequest request;

  /// Of a repeated run: the only picture of the request to keep; -1 = all.
  int64_t only = -1;
  std::string model_sha256 = {};                        // as recorded
  std::map<std::string, std::string> file_sha256 = {};  // of --lora, --noise-in and --cond-in, as recorded
};

/// Runs the command, and returns its exit code.
int generate(GenerateArguments& args);

/// Returns the number of images or videos per prompt.
int64_t pictures_per_prompt(const GenerateArguments& args);

/// Returns the pictures that this process samples, counted over all prompts.
Pictures sampled_pictures(const GenerateArguments& args);

/// An argument of `--lora`: [NAME=]FILE or the name of the model's own adapter, then a scale and `partial`,
/// each after a colon.
struct LoraArgument {
  std::string name;  ///< as given, or the file's without folder and extension; of PEFT's folder its name
  std::string file;  ///< also if it is a name; in PEFT's folder the file with the weights
  double scale = 1.0;
  bool partial = false;  ///< what matches nothing is left out
};

/// Errors:  InvalidArgument for what follows the colon if it is meant as a scale and is none.
LoraArgument lora_argument(const std::string& given);

/// Returns the texts stored with sample `index` of the request: its settings one by one, and under `request`
/// everything that repeats it, as JSON.
PngTexts texts_of(const GenerateArguments& args, int64_t index, const GenerateResult& made,
                  const Bundle& bundle);

/// Fills the arguments with those recorded in the picture args.from.
/// Errors:  NotFound, InvalidArgument, BadModel naming the file.
void repeat_from(GenerateArguments& args);

/// Throws if the model or a file is not the one that was recorded.   Errors: BadModel.
void check_recorded(const GenerateArguments& args, const Bundle& bundle);

/// Returns the report of `--json`. `error` is what ended the run early, "" if nothing did.
nlohmann::ordered_json report_of(const GenerateArguments& args, const GenerateResult& made,
                                 const std::vector<std::string>& images, const std::string& error);

}  // namespace glint::cli
