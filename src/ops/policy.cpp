#include <glint/ops/attention_scope.hpp>

#include <utility>

namespace glint {
namespace {

thread_local AttentionScope* innermost = nullptr;

}  // namespace

AttentionScope::AttentionScope(const AttentionPolicy& policy, std::vector<AttentionCall>* log,
                               const GuidedRows* guided)
    : policy_(policy),
      outer_(std::exchange(innermost, this)),
      log_(log || !outer_ ? log : outer_->log_),
      guided_(guided) {}

AttentionScope::~AttentionScope() { innermost = outer_; }

AttentionScope* AttentionScope::current() noexcept { return innermost; }

void AttentionScope::record(const AttentionCall& call) {
  ++calls_;
  sparse_calls_ += call.kind != AttentionKind::Dense;
  if (log_) log_->push_back(call);
}

}  // namespace glint
