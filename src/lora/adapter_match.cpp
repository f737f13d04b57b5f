// Matches adapters to a network's weights.
#include "lora/adapter_content.hpp"
#include "lora/adapter_names.hpp"

#include <glint/core/error.hpp>
#include <glint/core/tensor.hpp>

#include <fmt/format.h>

namespace glint {
namespace {

/// Rows of a change that go to a weight's rows.
struct Piece {
  std::string weight;
  int64_t row, count;
};

/// Returns where the change's rows go, in their order.
std::vector<Piece> pieces(const WeightChange& change, const std::vector<detail::ChangeTarget>& targets,
                          const Weights& weights, const std::string& file) {
  int64_t rows = 0;
  bool fits = true;
  std::string shapes;
  std::vector<Piece> result;
  for (const auto& [name, halves_swapped] : targets) {
    const at::Tensor& weight = weights.at(name);
    const int64_t own = weight.size(0);
    rows += own;
    fits = fits && own > 0 && change.columns() == weight.numel() / own;
    shapes += fmt::format("{}{} {}", shapes.empty() ? "" : ", ", name, shape_string(weight.sizes()));
    if (halves_swapped) {
      result.push_back({name, own / 2, own / 2});
      result.push_back({name, 0, own / 2});
    } else {
      result.push_back({name, 0, own});
    }
  }
  GLINT_CHECK(fits && change.rows() == rows, ShapeMismatch,
              "{}: '{}' changes [{},{}] values, which does not fit {}", file, change.key, change.rows(),
              change.columns(), shapes);
  return result;
}

/// Appends the change to its target weights.
void divide(const WeightChange& change, const std::vector<detail::ChangeTarget>& targets,
            const Weights& weights, const std::string& file, WeightChanges& changes) {
  const std::vector<Piece> all = pieces(change, targets, weights, file);
  if (change.magnitude.dim() == 2) {  // by input channel
    GLINT_CHECK(
        all.size() == 1, BadModel,
        "{}: '{}': a dora_scale [1,in] of fused weights cannot be split: its norms are those of all {} "
        "parts together",
        file, change.key, all.size());
    const at::Tensor& weight = weights.at(all.front().weight);
    GLINT_CHECK(weight.dim() >= 2 && weight.size(1) == change.magnitude.size(1), ShapeMismatch,
                "{}: '{}': dora_scale: expected [1,{}] for {} {}, got {}", file, change.key,
                weight.dim() >= 2 ? weight.size(1) : 0, all.front().weight, shape_string(weight.sizes()),
                shape_string(change.magnitude.sizes()));
  }
  int64_t skipped = 0;
  for (const Piece& piece : all) {
    WeightChange part = change;
    part.skipped = skipped;
    part.row = piece.row;
    part.changed = piece.count;
    changes[piece.weight].push_back(std::move(part));
    skipped += piece.count;
  }
}

}  // namespace

WeightChanges match_adapter(const AdapterFile& file, const std::string& component, const Weights& weights,
                            const AdapterWarn& warn) {
  WeightChanges changes;
  const auto layers = file.layers.find(component);
  if (layers == file.layers.end()) return changes;
  const detail::WeightIndex index(weights);
  std::vector<WeightChange> unmatched;
  for (const WeightChange& change : layers->second) {
    const std::vector<detail::ChangeTarget> targets = index.find(change.layer, change.parameter);
    if (targets.empty())
      unmatched.push_back(change);
    else
      divide(change, targets, weights, file.path, changes);
  }
  const std::vector<std::string> lost = detail::keys_with_effect(unmatched);
  GLINT_CHECK(
      lost.empty() || file.partial, InvalidArgument,
      "{}: made for another model? Its {} has no weights for {} of {} layers: {}; with ':partial' they "
      "are left out",
      file.path, component, lost.size(), layers->second.size(), detail::listed(lost));
  if (!lost.empty() && warn)
    warn(fmt::format("{}: left out {} of {} layers, for which the {} has no weights: {}", file.path,
                     lost.size(), layers->second.size(), component, detail::listed(lost)));
  return changes;
}

}  // namespace glint
