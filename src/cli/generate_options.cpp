// The options of glint generate.
#include "cli/generate.hpp"

#include <memory>

namespace glint::cli {
namespace {

void add_sampling_options(CLI::App& command, GenerateArguments& args) {
  GenerateRequest& r = args.request;
  command.add_option("prompt", args.prompts, "what to draw; several prompts make several pictures");
  command.add_option(
      "--prompts", args.prompt_file,
      "text file or pipe with one prompt per line, after those given; one batch of its pictures "
      "is in memory at a time, and processes started by torchrun share them");
  add_model_options(command, args.model);
  add_request_options(command, r, args.solver, args.schedule, args.threads);
  command
      .add_option(
          "--with", args.with,
          "a strategy, rule, filter, attention policy or guidance, or cache: NAME[:key=value,...]; may be "
          "repeated; 'glint list' has the names")
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
  for (const char* other :
       {"prompt",     "--prompts",  "--negative", "--steps",  "--guidance", "--with",  "--solver",
        "--schedule", "--lora",     "--seed",     "--count",  "--batch",    "--width", "--height",
        "--frames",   "--noise-in", "--cond-in",  "--device", "--dtype",    "--pack"})
    from->excludes(other);
  for (const PromptField& field : prompt_fields()) from->excludes(option_of(field.name));
}

void add_output_options(CLI::App& command, GenerateArguments& args) {
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

void add_run_options(CLI::App& command, GenerateArguments& args) {
  command.add_flag("--effective-guidance", args.request.effective_guidance,
                   "measure the guidance scale every step amounts to, for --json; 2 more rows a step");
  command.add_flag("--free-params-immediately", args.request.free_params_immediately,
                   "let go of the weights of each stage when it ends, so that text encoders, denoiser and "
                   "decoder are never in memory together; takes longer, same pictures");
  command
      .add_option(
          "--memory-limit", args.model.memory_limit,
          "most MiB of weights in memory at once; what is not in use goes, what does not fit is refused; "
          "0 = no limit")
      ->check(CLI::Range(0.0, 1e9))
      ->capture_default_str();
  command.add_flag("--json", args.json, "print one JSON object about the run");
  command.add_flag("--quiet,-q", args.quiet, "no progress, no paths");
}

}  // namespace

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
