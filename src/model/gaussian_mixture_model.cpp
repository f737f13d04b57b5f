#include <glint/core/error.hpp>
#include <glint/model/gaussian_mixture_model.hpp>

#ifndef GLINT_CORE_ONLY
#include <ATen/TensorOperators.h>
#include <ATen/ops/softmax.h>
#endif

namespace glint {
namespace {

void check_tensor(const at::Tensor& t, const char* name) {
  GLINT_CHECK(t.defined() && t.dim() >= 1 && t.numel() > 0, ShapeMismatch,
              "{}: expected a tensor with elements, got none", name);
  GLINT_CHECK(t.scalar_type() == at::kDouble, UnsupportedDtype, "{}: expected float64, got {}", name,
              at::toString(t.scalar_type()));
}

}  // namespace

GaussianMixtureModel::GaussianMixtureModel(GaussianMixture mixture, Parameterization parameterization,
                                           NoiseKind kind) {
  check_tensor(mixture.means, "means");
  check_tensor(mixture.variances, "variances");
  check_tensor(mixture.weights, "weights");
  const int64_t k = mixture.means.size(0);
  GLINT_CHECK(mixture.means.dim() >= 2, ShapeMismatch, "means: expected [K,C,...], got {}",
              shape_string(mixture.means.sizes()));
  GLINT_CHECK(mixture.weights.dim() == 1 && mixture.weights.size(0) == k, ShapeMismatch,
              "weights: expected [{}], got {}", k, shape_string(mixture.weights.sizes()));
  const bool scalar_variances = mixture.variances.dim() == 1 && mixture.variances.size(0) == k;
  GLINT_CHECK(scalar_variances || mixture.variances.sizes() == mixture.means.sizes(), ShapeMismatch,
              "variances: expected [{}] or {}, got {}", k, shape_string(mixture.means.sizes()),
              shape_string(mixture.variances.sizes()));
  GLINT_CHECK(mixture.weights.min().item<double>() > 0.0, InvalidArgument, "weights: expected all > 0");
  GLINT_CHECK(mixture.variances.min().item<double>() >= 0.0, InvalidArgument, "variances: expected all >= 0");

  means_ = mixture.means.reshape({k, -1});
  variances_ = mixture.variances.reshape({k, -1}).expand_as(means_).contiguous();
  weights_ = mixture.weights / mixture.weights.sum();
  info_ = {.name = "gaussian-mixture",
           .parameterization = parameterization,
           .noise_kind = kind,
           .latent_shape = {mixture.means.sizes().begin() + 1, mixture.means.sizes().end()},
           .gradients = kDifferentiates};
}

Conditioning GaussianMixtureModel::condition(const std::vector<int64_t>& components) const {
  at::Tensor chosen = components.empty() ? weights_ : at::zeros_like(weights_);
  for (int64_t k : components) {
    GLINT_CHECK(k >= 0 && k < weights_.size(0), InvalidArgument,
                "components: expected indices in [0, {}), got {}", weights_.size(0), k);
    chosen[k] = weights_[k];
  }
  return {.tokens = chosen.reshape({1, 1, -1})};
}

GaussianMixtureModel::Moments GaussianMixtureModel::posterior(const at::Tensor& x, const Level& level,
                                                              const Conditioning& conditioning) const {
  const int64_t k = weights_.size(0);
  GLINT_CHECK(
      conditioning.tokens.defined() && conditioning.tokens.dim() == 3 && conditioning.tokens.size(2) == k,
      ShapeMismatch, "conditioning: expected component weights [B,1,{}] from condition(), got {}", k,
      conditioning.tokens.defined() ? shape_string(conditioning.tokens.sizes()) : "nothing");
  const double a = level.alpha, s = level.sigma;
  const at::Tensor variance = variances_ * (a * a) + s * s;                          // [K,D] of x
  const at::Tensor offset = x.to(at::kDouble).flatten(1).unsqueeze(1) - means_ * a;  // [B,K,D]
  const at::Tensor scaled = offset / variance;
  const at::Tensor log_density = -0.5 * ((offset * scaled).sum(2) + variance.log().sum(1));  // [B,K]
  const at::Tensor log_weight = conditioning.tokens.to(at::kDouble).select(1, 0).log();      // [B or 1,K]
  const at::Tensor share = at::softmax(log_density + log_weight, 1).unsqueeze(2);            // [B,K,1]
  return {.denoised = (share * (means_ + variances_ * scaled * a)).sum(1).reshape(x.sizes()),
          .epsilon = (share * scaled).sum(1).mul(s).reshape(x.sizes())};
}

std::vector<at::Tensor> GaussianMixtureModel::predict(const ModelInput& input) const {
  GLINT_CHECK(input.x.dim() >= 2 && input.x.sizes().slice(1) == at::IntArrayRef(info_.latent_shape),
              ShapeMismatch, "x: expected [B] + {}, got {}", shape_string(info_.latent_shape),
              shape_string(input.x.sizes()));
  std::vector<at::Tensor> outputs;
  outputs.reserve(input.branches.size());
  for (const Conditioning* branch : input.branches) {
    const Moments m = posterior(input.x, input.level, *branch);
    at::Tensor output;
    switch (info_.parameterization) {
      case Parameterization::Epsilon: output = m.epsilon; break;
      case Parameterization::X0: output = m.denoised; break;
      case Parameterization::V:
        output = m.epsilon * input.level.alpha - m.denoised * input.level.sigma;
        break;
      case Parameterization::Velocity: output = m.epsilon - m.denoised; break;
    }
    outputs.push_back(output.to(input.x.scalar_type()));
  }
  return outputs;
}

}  // namespace glint
