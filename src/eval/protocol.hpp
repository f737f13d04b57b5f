// The protocol of an evaluation: which arms to sample in which order, and what their scores say.
#pragma once

#include "eval/journal.hpp"

#include <set>
#include <string>
#include <utility>
#include <vector>

namespace glint::detail {

/// Errors:  those of settings(), naming the arm.
void check_arm(const ArmSampler& sampler, const Arm& arm);

/// Samples all arms that the journal lacks, with this process's share of the work, and analyses them.
class Protocol {
 public:
  Protocol(const EvalRequest& request, ArmSampler& sampler, Journal& journal);

  EvalResult run();

 private:
  /// An arm against one of its baselines, both by index.
  struct Match {
    size_t method, baseline;
    Baseline kind;
    std::string scorer;
  };

  size_t add(Arm arm);
  void plan_methods();
  void plan_baselines();
  void match(size_t method, Arm baseline, Baseline kind, const std::string& scorer);
  void sample(size_t first, size_t last, bool methods);
  void sample_unit(size_t arm, int64_t first, bool measure);
  bool measured_unit(int64_t first) const { return sampler_.measures() && first < request_.measured; }
  void await(size_t first, size_t last, bool methods);
  void report(size_t arm);
  ArmSummary measured(size_t arm) const;
  ArmSummary summary(size_t arm) const;
  std::vector<const PairResult*> pairs_of(size_t arm) const;
  std::vector<double> scores_of(size_t arm, const std::string& scorer) const;
  Comparison compare(const Match& match) const;
  std::string other_scorer(const std::string& judge) const;
  bool chose(const std::string& judge, const Arm& arm) const;

  int64_t pairs() const { return static_cast<int64_t>(request_.prompts.size()) * request_.seeds; }
  int64_t unit_size() const { return request_.generate.batch; }

  const EvalRequest& request_;
  ArmSampler& sampler_;
  Journal& journal_;
  std::vector<Arm> arms_;
  std::vector<size_t> methods_;
  std::vector<Match> matches_;
  std::vector<std::string> omitted_;
  bool planned_ = false;                        // whether the baselines are known
  int64_t done_ = 0, resumed_ = 0, total_ = 0;  // pictures of this process's share
};

}  // namespace glint::detail
