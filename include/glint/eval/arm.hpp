// The arms of an evaluation: ways to sample the same prompts and seeds. Methods come as lines of text.
#pragma once

#include <glint/catalog/registry.hpp>
#include <glint/export.hpp>
#include <glint/pipeline/request.hpp>

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace glint {

/// A way to sample. Unset fields are the evaluation's.
struct GLINT_API Arm {
  std::string name = {};             ///< as shown, e.g. "z-sampling:guidance_inverse=0 + rescale:phi=0.5"
  std::vector<Choice> methods = {};  ///< rules, filters, strategies, attention, as in GenerateRequest::with
  std::optional<Choice> solver = {};
  std::optional<int> steps = {};
  std::optional<double> guidance = {};
  int candidates = 1;         ///< noises drawn per picture, of which `selector` keeps one
  std::string selector = {};  ///< the scorer component that chooses; empty for one candidate

  /// Returns text that is the same for arms that sample alike, whatever their name.
  std::string key() const;
};

/// Returns the request with an arm's methods and settings. The request's guidance scale stays only where the
/// arm can use it: not beside a rule that has a scale of its own or none, nor a solver with scales of its
/// own.
GLINT_API GenerateRequest with_arm(GenerateRequest request, const Arm& arm,
                                   const Registry& registry = builtins());

/// Whether a method of the arm sets an attention policy, which the denoiser must be loaded for.
GLINT_API bool changes_attention(const Arm& arm, const Registry& registry = builtins());

/// Parses `NAME[:key=value,...]`, or several of them joined by " + ". A name is one of the registry's: a
/// rule, filter, strategy, attention policy or solver; or `plain` with the options steps and guidance, which
/// is plain sampling alone and sets these for the rest of a line.
/// Errors:  InvalidArgument, naming the part: as parse_choice; for a name the registry lacks (with the
///          nearest); for two solvers; for options that do not fit.
GLINT_API Arm parse_arm(std::string_view line, const Registry& registry = builtins());

/// Reads a file of one arm per line; lines that start with # are comments.
/// Errors:  as read_lines; as parse_arm, starting with file and line; InvalidArgument for arms that are given
///          twice.
GLINT_API std::vector<Arm> read_arms(const std::filesystem::path& path,
                                     const Registry& registry = builtins());

/// Reads a file of one prompt per line.   Errors: as read_lines; InvalidArgument for one given twice.
GLINT_API std::vector<std::string> read_prompts(const std::filesystem::path& path);

/// Returns the scorer components that choose among noises in this arm: its selector, and the `scorer` options
/// of its methods.
GLINT_API std::vector<std::string> choosing_scorers(const Arm& arm, const Registry& registry = builtins());

}  // namespace glint
