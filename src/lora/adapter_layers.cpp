#include "lora/adapter_layers.hpp"

#include <glint/core/error.hpp>
#include <glint/core/tensor.hpp>

#include <cmath>
#include <optional>

namespace glint::detail {
namespace {

using enum AdapterPart;

/// The parts of one matrix.
struct MatrixParts {
  std::optional<AdapterPart> whole;
  AdapterPart up, down;
  std::optional<AdapterPart> core;
  const char* wanted;  ///< for messages
  /// With a core, up is stored as [r,rows] (LoHa, LoKr) rather than as [rows,r,...] (LoCon).
  bool turned = true;
};

constexpr MatrixParts kLora{{}, Up, Down, Core, "up (lora_B) and down (lora_A)", false};
constexpr MatrixParts kHadamard1{{}, HadamardUp1, HadamardDown1, HadamardCore1, "hada_w1_a and hada_w1_b"};
constexpr MatrixParts kHadamard2{{}, HadamardUp2, HadamardDown2, HadamardCore2, "hada_w2_a and hada_w2_b"};
constexpr MatrixParts kKronecker1{
    Kronecker1, KroneckerUp1, KroneckerDown1, {}, "lokr_w1, or lokr_w1_a and lokr_w1_b"};
constexpr MatrixParts kKronecker2{Kronecker2, KroneckerUp2, KroneckerDown2, KroneckerCore2,
                                  "lokr_w2, or lokr_w2_a and lokr_w2_b"};

/// Reads the changes of one layer.
class LayerReader {
 public:
  LayerReader(const LayerParts& parts, const AdapterSettings& settings, const std::string& file)
      : parts_(parts), settings_(settings), file_(file) {}

  std::vector<WeightChange> changes() const {
    for (const auto& [part, tensor] : parts_.tensors)
      GLINT_CHECK(part == Alpha || tensor.is_floating_point(), BadModel,
                  "{}: '{}': expected floating point, got {}", file_, name(),
                  at::toString(tensor.scalar_type()));
    std::vector<WeightChange> all;
    if (has({Up, Down, Core})) {
      GLINT_CHECK(has({Magnitude, MagnitudeVector}) || !settings_.flag(parts_.key, "use_dora", file_),
                  BadModel, "{}: '{}': use_dora is true, but the layer has no lora_magnitude_vector", file_,
                  name());
      all.push_back(low_rank());
    }
    if (has({HadamardUp1, HadamardDown1, HadamardCore1, HadamardUp2, HadamardDown2, HadamardCore2}))
      all.push_back(hadamard());
    if (has({Kronecker1, KroneckerUp1, KroneckerDown1, Kronecker2, KroneckerUp2, KroneckerDown2,
             KroneckerCore2}))
      all.push_back(kronecker());
    if (has({Difference})) all.push_back(whole(Difference, "weight"));
    for (const AdapterPart part : {Magnitude, MagnitudeVector})
      if (has({part})) set_magnitude(all, part);
    if (has({UpBias})) add_up_bias(all);
    if (has({BiasDifference})) all.push_back(whole(BiasDifference, "bias"));
    if (has({Value})) {
      all.push_back(whole(Value, "weight"));
      all.back().form = ChangeForm::Value;
    }
    return all;
  }

 private:
  const std::string& name() const { return parts_.key.name; }

  at::Tensor tensor(AdapterPart part) const {
    const auto found = parts_.tensors.find(part);
    return found == parts_.tensors.end() ? at::Tensor() : found->second;
  }

  bool has(std::initializer_list<AdapterPart> parts) const {
    for (const AdapterPart part : parts)
      if (parts_.tensors.contains(part)) return true;
    return false;
  }

  WeightChange change(ChangeForm form) const {
    return {.key = name(), .layer = parts_.key.layer, .form = form};
  }

  AdapterMatrix matrix(const MatrixParts& of) const {
    AdapterMatrix m;
    if (of.whole && has({*of.whole})) {
      m.whole = tensor(*of.whole);
      GLINT_CHECK(m.whole.dim() >= 2 && m.whole.numel() > 0, BadModel,
                  "{}: '{}': expected {} [out,in,...], got {}", file_, name(), of.wanted,
                  shape_string(m.whole.sizes()));
      return m;
    }
    const at::Tensor up = tensor(of.up), down = tensor(of.down);
    GLINT_CHECK(up.defined() && down.defined(), BadModel, "{}: '{}': expected {}, of which one is missing",
                file_, name(), of.wanted);
    if (of.core) m.core = tensor(*of.core);
    const bool turned = m.core.defined() && of.turned;
    bool fits = up.dim() >= 2 && down.dim() >= 2 && up.numel() == up.size(0) * up.size(1) && up.numel() > 0;
    if (fits) {
      m.up = turned ? up.flatten(1).t() : up.flatten(1);
      m.down = down.flatten(1);
      fits = m.up.size(1) == m.down.size(0);
    }
    GLINT_CHECK(fits, BadModel, "{}: '{}': expected {} [out,r] and [r,in,...], got {} and {}", file_, name(),
                of.wanted, shape_string(up.sizes()), shape_string(down.sizes()));
    const int64_t rank = m.down.size(0);
    if (m.core.defined())
      GLINT_CHECK(m.core.dim() >= 3 && m.core.size(0) == rank && m.core.size(1) == rank && m.core.numel() > 0,
                  BadModel, "{}: '{}': expected a core [{},{},kh,kw], got {}", file_, name(), rank, rank,
                  shape_string(m.core.sizes()));
    return m;
  }

  /// Returns alpha / r. `rank` is unset if the layer has no factors.
  double factor(std::optional<int64_t> rank) const {
    double factor = 1.0;
    if (const at::Tensor alpha = tensor(Alpha); !alpha.defined()) {
      factor = settings_.factor(parts_.key, rank, file_);
    } else if (rank) {
      GLINT_CHECK(alpha.numel() == 1, BadModel, "{}: '{}': alpha: expected one number, got {}", file_, name(),
                  shape_string(alpha.sizes()));
      factor = alpha.to(at::kDouble).item<double>() / static_cast<double>(*rank);
    }
    GLINT_CHECK(std::isfinite(factor), BadModel, "{}: '{}': alpha: expected a finite number", file_, name());
    constexpr double kLargestFactor = 1e9;  // so that its product with any scale fits into float32
    GLINT_CHECK(std::abs(factor) <= kLargestFactor, BadModel,
                "{}: '{}': alpha: expected a number of at most {} times the rank, got {} times", file_,
                name(), kLargestFactor, factor);
    return factor;
  }

  WeightChange low_rank() const {
    WeightChange result = change(ChangeForm::Sum);
    result.first = matrix(kLora);
    result.factor = factor(result.first.down.size(0));
    return result;
  }

  WeightChange hadamard() const {
    WeightChange result = change(ChangeForm::Hadamard);
    result.first = matrix(kHadamard1);
    result.second = matrix(kHadamard2);
    GLINT_CHECK(
        result.first.rows() == result.second.rows() && result.first.columns() == result.second.columns(),
        BadModel, "{}: '{}': expected two products of one shape, got [{},{}] and [{},{}]", file_, name(),
        result.first.rows(), result.first.columns(), result.second.rows(), result.second.columns());
    result.factor = factor(result.first.down.size(0));
    return result;
  }

  WeightChange kronecker() const {
    WeightChange result = change(ChangeForm::Kronecker);
    result.first = matrix(kKronecker1);
    result.second = matrix(kKronecker2);
    const at::Tensor& factored = result.second.down.defined() ? result.second.down : result.first.down;
    result.factor = factor(factored.defined() ? std::optional(factored.size(0)) : std::nullopt);
    return result;
  }

  WeightChange whole(AdapterPart part, const char* parameter) const {
    WeightChange result = change(ChangeForm::Sum);
    result.parameter = parameter;
    result.first.whole = tensor(part);
    GLINT_CHECK(result.first.whole.dim() >= 1 && result.first.whole.numel() > 0, BadModel,
                "{}: '{}': expected as many values as the {} has, got {}", file_, name(), parameter,
                shape_string(result.first.whole.sizes()));
    return result;
  }

  /// A bias of the up factor is added to the layer's, scaled as the product is.
  void add_up_bias(std::vector<WeightChange>& all) const {
    GLINT_CHECK(has({Up}), BadModel, "{}: '{}': a bias of lora_B without lora_B", file_, name());
    all.push_back(whole(UpBias, "bias"));
    all.back().factor = all.front().factor;
  }

  /// Sets DoRA's magnitude. LyCORIS' shape tells whether it is one per output or one per input channel.
  void set_magnitude(std::vector<WeightChange>& all, AdapterPart part) const {
    GLINT_CHECK(all.size() == 1 && !all.front().magnitude.defined(), BadModel,
                "{}: '{}': expected one change of the weight and one dora_scale, got {} changes", file_,
                name(), all.size());
    WeightChange& change = all.front();
    const at::Tensor given = tensor(part);
    const bool row = given.dim() >= 2 && given.numel() > 0 && given.size(1) == given.numel();
    const bool by_input = part == Magnitude && row && !(given.numel() == 1 && change.rows() == 1);
    GLINT_CHECK(by_input ? change.columns() % given.numel() == 0 : given.numel() == change.rows(), BadModel,
                "{}: '{}': dora_scale: expected {} values, one per output, or [1,in], got {}", file_, name(),
                change.rows(), shape_string(given.sizes()));
    change.magnitude = by_input ? given.reshape({1, -1}) : given.reshape({-1});
  }

  const LayerParts& parts_;
  const AdapterSettings& settings_;
  const std::string& file_;
};

}  // namespace

std::vector<WeightChange> layer_changes(const LayerParts& parts, const AdapterSettings& settings,
                                        const std::string& file) {
  return LayerReader(parts, settings, file).changes();
}

}  // namespace glint::detail
