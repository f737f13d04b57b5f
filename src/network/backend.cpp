#include <glint/core/error.hpp>
#include <glint/network/backend.hpp>

namespace glint {
namespace {

/// What a backend can do. To add one, add a row here and one in network.cpp.
struct Facts {
  Backend backend;
  BackendFacts facts;
};
constexpr std::array kFacts{
    Facts{Backend::TorchScript,
          {.gradients = true, .exchangeable = true, .converts = true, .operators = true}},
    Facts{Backend::ExportedProgram, {.operators = true}},
    Facts{Backend::AotInductor, {.compiled = true}},
    Facts{Backend::Safetensors, {.converts = true, .built_in = true}},
};
static_assert(kFacts.size() == EnumNames<Backend>::values.size());

}  // namespace

const BackendFacts& facts_of(Backend backend) {
  for (const Facts& row : kFacts)
    if (row.backend == backend) return row.facts;
  fail(ErrorCode::InvalidArgument, "backend: there is none of number {}", static_cast<int>(backend));
}

}  // namespace glint
