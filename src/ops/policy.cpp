#include <glint/attention/policy.hpp>

#include <utility>

namespace glint {
namespace {

thread_local AttentionScope* innermost = nullptr;

}  // namespace

AttentionScope::AttentionScope(const AttentionPolicy& policy)
    : policy_(policy), outer_(std::exchange(innermost, this)) {}

AttentionScope::~AttentionScope() { innermost = outer_; }

AttentionScope* AttentionScope::current() noexcept { return innermost; }

}  // namespace glint
