// Evaluates methods on many prompts and seeds against baselines of the same guidance and the same cost.
#pragma once

#include <glint/core/enum_names.hpp>
#include <glint/eval/arm.hpp>
#include <glint/eval/statistics.hpp>
#include <glint/export.hpp>
#include <glint/pipeline/request.hpp>
#include <glint/pipeline/share.hpp>

#include <array>
#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace glint {

class Pipeline;

/// What a method is compared with, on the same prompts and initial noises.
enum class Baseline {
  Plain,               ///< plain sampling with the evaluation's settings
  MatchedGuidance,     ///< plain sampling at the method's measured effective guidance scale
  MatchedEvaluations,  ///< plain sampling with more or fewer steps, for the method's number of evaluations
  BestOfK  ///< the best of k plainly sampled pictures, chosen by a scorer, for that number of evaluations
};
template <>
struct EnumNames<Baseline> {
  static constexpr std::array<std::string_view, 4> values{"plain", "matched-guidance", "matched-evaluations",
                                                          "best-of-k"};
};

/// Progress of this process, in pictures. `total` grows when the baselines are known.
struct EvalProgress {
  int64_t done;     ///< including those of earlier runs
  int64_t resumed;  ///< of `done`, those of earlier runs
  int64_t total;
  bool whole;       ///< whether `total` has the baselines too
  std::string arm;  ///< being sampled
};

/// What to evaluate. Pair i is prompt i / seeds with the noise drawn with generate.seed + i, in every arm.
struct EvalRequest {
  std::filesystem::path folder = {};  ///< created if missing; an evaluation begun there is continued
  std::vector<std::string> prompts = {};
  std::vector<Arm> methods = {};
  /// Components of the bundle, or paths, as Scorer::open has them. The first leads in the report.
  std::vector<std::string> scorers = {"scorer"};
  int64_t seeds = 1;  ///< per prompt
  /// Steps, guidance, solver, schedule, size, first seed, batch and observer of all arms; of methods, prompts
  /// and counts nothing.
  GenerateRequest generate = {};
  std::vector<double> curve = {};  ///< guidance scales at which plain sampling is evaluated too
  int64_t pictures = 8;            ///< pairs whose pictures are kept for the report
  int64_t measured = 64;           ///< first pairs, in whole batches, on which guidance scales are measured
  Share share = {};                ///< of several processes, the first writes the results when all are done
  std::function<void(const EvalProgress&)> progress = nullptr;  ///< called after every batch
};

/// A mean score.
struct ScoreSummary {
  double mean = 0.0;
  ConfidenceInterval interval = {};  ///< by bootstrap over prompts
};

/// What an arm amounted to. NaN marks what was not measured.
struct ArmSummary {
  Arm arm;
  int steps = 0;
  double guidance = 0.0;     ///< scale asked for
  double evaluations = 0.0;  ///< per picture
  double seconds = 0.0;      ///< of all pictures, without scoring and without measuring the guidance
  /// Effective guidance scale, by the signed and the unsigned projection, and what it leaves; see
  /// EffectiveGuidance.
  double signed_scale = 0.0, unsigned_scale = 0.0, orthogonal = 0.0;
  double saturation = 0.0;  ///< mean of HSV saturation, 0 to 1
  double contrast = 0.0;    ///< RMS contrast: the standard deviation of Rec. 709 luma, 0 to 1
  double diversity = 0.0;   ///< mean RMS distance of 8 x 8 thumbnails between the seeds of a prompt, 0 to 1
  std::map<std::string, ScoreSummary> scores = {};  ///< by scorer
};

/// A method against one of its baselines, by one scorer.
struct Comparison {
  size_t method = 0, baseline = 0;  ///< indices in EvalResult::arms
  Baseline kind = {};
  std::string scorer = {};
  WinRate wins = {};
  ScoreSummary difference = {};  ///< of the paired scores
  double p = 1.0;                ///< by randomization_p
  double p_holm = 1.0;           ///< corrected for all comparisons by this scorer
  /// Whether the scorer that judges also chose the noises of the method, or of its baseline.
  bool judge_chose_method = false, judge_chose_baseline = false;
};

/// The result. `arms` holds the plain one, then the methods, then the baselines.
struct EvalResult {
  std::vector<ArmSummary> arms = {};
  std::vector<Comparison> comparisons = {};
  /// Comparisons whose baseline the model cannot sample, e.g. with more steps than it was trained with, each
  /// with the reason.
  std::vector<std::string> omitted = {};
  int64_t pairs = 0;
  int64_t resumed = 0;                       ///< of this process's pictures, those of earlier runs
  std::set<std::string> unknown_words = {};  ///< in the prompts
  bool complete = false;                     ///< false in all processes but the first
};

/// Samples every arm on every pair, scores the pictures, and writes results.json, results.csv and
/// report.html into the folder.
/// Cost:    per pair, the methods' and baselines' own; per measured pair, 2 N rows for each method's guidance
///          scale. Each baseline costs about as much as its method; equal arms are sampled once.
/// Memory:  one batch, and about 1 kB per picture.
/// Errors:  before the first picture: InvalidArgument for a bad request, a method that the model cannot run
///          (named), a folder that cannot be written or holds another evaluation (the message names the first
///          difference), and one in use; Io for a folder with too little room; NotFound for a missing scorer;
///          those of a scorer that does not fit. Later: Io if a file cannot be written; Cancelled, after
///          which the same call goes on; Numerical for a score that is not finite; Internal, naming the rank,
///          if another process stopped before its share was done.
/// Random:  the same request gives the same results, interrupted or not, by one process or several, on the
///          same processor with the same number of threads each. Keys that hold a time say so.
/// Source:  the protocol of arXiv:2602.22570 (GA-Eval). Deviations: one effective scale per method, the mean
///          of the signed projection over the measured pairs, rounded to 3 decimals; ties count half;
///          baselines of equal cost.
GLINT_API EvalResult evaluate(const Pipeline& pipeline, const EvalRequest& request);

}  // namespace glint
