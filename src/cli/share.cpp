#include "cli/share.hpp"

#include <glint/core/error.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace glint::cli {
namespace {

/// Returns an environment variable that counts processes; `fallback` if it is not set.
int64_t count_in_environment(const char* name, int64_t fallback) {
  const char* text = std::getenv(name);
  if (!text) return fallback;
  const std::optional<double> number = detail::number_in(OptionValue(text));
  GLINT_CHECK(number && *number >= 0 && *number == std::floor(*number) && *number < 1e6, InvalidArgument,
              "{}: expected an integer of at least 0, got '{}'", name, text);
  return static_cast<int64_t>(*number);
}

}  // namespace

void read_share(Share& share, ModelArguments& model) {
  share.ranks = count_in_environment("WORLD_SIZE", share.ranks);
  share.rank = count_in_environment("RANK", share.rank);
  GLINT_CHECK(share.ranks >= 1, InvalidArgument, "WORLD_SIZE: expected at least 1, got {}", share.ranks);
  GLINT_CHECK(share.rank < share.ranks, InvalidArgument, "RANK: expected less than WORLD_SIZE, {}, got {}",
              share.ranks, share.rank);
  if (model.device == "cuda" && std::getenv("LOCAL_RANK"))
    model.device = fmt::format("cuda:{}", count_in_environment("LOCAL_RANK", 0));
}

Pictures share_of(const Share& share, int64_t pictures, int64_t batch) {
  const int64_t batches = (pictures - 1) / batch + 1;
  const auto before = [&](int64_t rank) {
    const int64_t rest = std::min(rank, batches % share.ranks);
    return std::min((batches / share.ranks * rank + rest) * batch, pictures);
  };
  return {before(share.rank), before(share.rank + 1)};
}

}  // namespace glint::cli
