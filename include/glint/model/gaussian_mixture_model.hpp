// The exact denoiser of a Gaussian mixture: the tests' oracle, and a model that needs no weights.
#pragma once

#include <glint/core/parameterization.hpp>
#include <glint/export.hpp>
#include <glint/model/conditioning.hpp>
#include <glint/model/model.hpp>

namespace glint {

/// Data distribution sum_k w_k N(mean_k, diag(variance_k)).
struct GaussianMixture {
  at::Tensor means;      ///< [K,C,...], float64: K components over one latent's shape
  at::Tensor variances;  ///< [K,C,...] or [K], float64, >= 0; 0 is a point mass
  at::Tensor weights;    ///< [K], float64, > 0; need not sum to one
};

/// Predicts E[eps|x], E[x0|x] or a combination exactly, at VP and flow levels alike. A condition selects
/// components, the unconditional one all of them; the token embeddings [B,1,K] hold component weights.
/// Cost:    O(B K D) for D values per sample.   Thread: stateless.
/// Source:  Bayes' rule for x = alpha x0 + sigma eps with x0 normal in each component.
class GLINT_API GaussianMixtureModel final : public Model {
 public:
  /// Errors: ShapeMismatch, UnsupportedDtype or InvalidArgument, naming the tensor, for a malformed mixture.
  GaussianMixtureModel(GaussianMixture mixture, Parameterization parameterization, NoiseKind kind);

  const ModelInfo& info() const override { return info_; }
  std::vector<at::Tensor> predict(const ModelInput& input) const override;

  /// Returns the conditioning on a subset of components with their weights; empty = all, the unconditional
  /// case.
  Conditioning condition(const std::vector<int64_t>& components = {}) const;

 private:
  struct Moments {
    at::Tensor denoised, epsilon;
  };
  Moments posterior(const at::Tensor& x, const Level& level, const Conditioning& conditioning) const;

  at::Tensor means_, variances_, weights_;  // [K,D], [K,D], [K]
  ModelInfo info_;
};

}  // namespace glint
