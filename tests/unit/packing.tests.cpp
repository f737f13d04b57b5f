// Networks with packed layers: the plain network's results, gradients and weights.
#include <glint/network/network.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>

#include <thread>

namespace glint {
namespace GLINT_TEST_FILE {

std::shared_ptr<const Network> load(const std::string& file, bool pack,
                                    const std::string& dtype = "float32") {
  return load_network(test::data(file), Backend::TorchScript, {.dtype = dtype, .pack = pack});
}

at::Tensor run(const Network& network, const at::Tensor& x) { return network.run({x}).front(); }

double difference(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).abs().max() / b.abs().max()).item().toDouble();
}

// Decoders and an encoder with 3x3, 1x1 and strided convolutions, normalizations, attention and up-sampling.
struct Case {
  const char* file;
  int64_t channels, side;
};
constexpr Case kCases[] = {{"modules/vae_decoder.pt", 4, 8},
                           {"families/sdxl/vae_decoder.pt", 4, 8},
                           {"families/sdxl/vae_encoder.pt", 3, 16},
                           {"families/flux/vae_decoder.pt", 16, 8}};

TEST_CASE("A packed network gives the plain network's results", "[unit]") {
  for (const auto& [file, channels, side] : kCases) {
    const auto packed = load(file, true), plain = load(file, false);
    for (const auto& [batch, height, width] :
         {std::tuple{int64_t{1}, side, side}, {int64_t{3}, side, 2 * side}}) {
      CAPTURE(file, batch);
      const at::Tensor x = at::randn({batch, channels, height, width});
      const at::Tensor y = run(*packed, x);
      // Sums in another order, in normalizations after each convolution: float32's rounding, some layers
      // deep.
      CHECK(difference(y, run(*plain, x)) < 1e-5);
      CHECK(y.is_contiguous());
      CHECK(at::equal(y, run(*packed, x)));
    }
  }
}

// Linear layers large enough to be packed, with and without bias, before each activation and before none.
constexpr const char* kProducts = "modules/products.pt";
constexpr int64_t kProductsWidth = 1024;

TEST_CASE("Packed linear layers give the plain ones' results, whatever ran before", "[unit]") {
  const auto packed = load(kProducts, true), plain = load(kProducts, false);
  const at::Tensor row = at::randn({1, kProductsWidth});
  const at::Tensor alone = run(*packed, row);
  for (const auto& shape : {std::vector<int64_t>{1, kProductsWidth},
                            {300, kProductsWidth},
                            {2, 77, kProductsWidth},
                            {2, 3, 5, kProductsWidth},
                            {kProductsWidth}}) {
    CAPTURE(shape);
    const at::Tensor x = at::randn(shape);
    const at::Tensor y = run(*packed, x), expected = run(*plain, x);
    CHECK(y.sizes() == expected.sizes());
    // Sums of 1024 products in another order, three deep.
    CHECK(difference(y, expected) < 1e-5);
    CHECK(at::equal(y, run(*packed, x)));
  }
  CHECK_FALSE(at::equal(alone, run(*plain, row)));  // packed it is
  CHECK(at::equal(alone, run(*packed, row)));
  const at::Tensor tall = at::randn({kProductsWidth, 96});
  CHECK(difference(run(*packed, tall.t()), run(*plain, tall.t())) < 1e-5);
  CHECK(run(*packed, at::randn({0, kProductsWidth})).sizes() == at::IntArrayRef({0, kProductsWidth}));
}

TEST_CASE("Packed linear layers are differentiable, and their weights can be exchanged", "[unit]") {
  const auto packed = load(kProducts, true), plain = load(kProducts, false);
  const at::Tensor start = at::randn({4, kProductsWidth});
  run(*packed, start);
  const auto gradient = [&](const Network& network) {
    const at::AutoGradMode recorded(true);
    at::Tensor x = start.clone().requires_grad_(true);
    run(network, x).square().sum().backward();
    return x.grad();
  };
  CHECK(at::equal(gradient(*packed), gradient(*plain)));
  REQUIRE(packed->weights().size() == plain->weights().size());
  Weights halved;
  for (const auto& [name, weight] : plain->weights()) {
    CAPTURE(name);
    CHECK(at::equal(packed->weights().at(name), weight));
    halved.emplace(name, weight * 0.5);
  }
  CHECK(at::equal(run(*packed->with_weights(halved), start), run(*plain->with_weights(halved), start)));
  CHECK(at::equal(run(*packed->with_weights({}), start), run(*plain, start)));
}

TEST_CASE("A packed network is differentiable, with the plain network's gradients", "[unit]") {
  const at::AutoGradMode recorded(true);
  const at::Tensor start = at::randn({2, 4, 8, 8});
  const auto gradient = [&](const std::shared_ptr<const Network>& network) {
    at::Tensor x = start.clone().requires_grad_(true);
    run(*network, x).square().sum().backward();
    return x.grad();
  };
  for (const char* file : {"families/sdxl/vae_decoder.pt", "modules/vae_decoder.pt"}) {
    const auto network = load(file, true);
    CHECK(at::equal(gradient(network), gradient(load(file, false))));
    CHECK(difference(run(*network, start), run(*load(file, false), start)) < 1e-5);  // packed again
  }
}

TEST_CASE("The weights of a packed network are the stored ones, and can be exchanged", "[unit]") {
  const std::string file = "modules/vae_decoder.pt";
  const auto packed = load(file, true), plain = load(file, false);
  REQUIRE(!plain->weights().empty());
  REQUIRE(packed->weights().size() == plain->weights().size());
  Weights doubled;
  for (const auto& [name, weight] : plain->weights()) {
    CAPTURE(name);
    CHECK(at::equal(packed->weights().at(name), weight));
    doubled.emplace(name, weight * 2);
  }
  const at::Tensor x = at::randn({1, 4, 8, 8});
  CHECK(at::equal(run(*packed->with_weights(doubled), x), run(*plain->with_weights(doubled), x)));
  CHECK(difference(run(*packed, x), run(*plain, x)) < 1e-5);
}

TEST_CASE("A network without weights to exchange can be asked to exchange none", "[unit]") {
  const at::Tensor x = at::randn({1, 4, 8, 8});
  const auto plain = load("modules/vae_decoder.pt", false);
  const auto derived = plain->with_weights({});
  CHECK(at::equal(run(*derived->with_weights({}), x), run(*derived, x)));
  const auto frozen = load("modules/denoiser_frozen.pt", true);
  CHECK(frozen->weights().empty());
  CHECK(frozen->with_weights({}));
}

TEST_CASE("A network is run packed, plain and with other weights by several threads at once", "[unit]") {
  const auto network = load("modules/vae_decoder.pt", true);
  const at::Tensor x = at::randn({1, 4, 8, 8});
  const at::Tensor expected = run(*network, x);
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int i = 0; i < 6; ++i)
    threads.emplace_back([&, i] {
      for (int repeat = 0; repeat < 3; ++repeat) {
        if (i % 3 == 0 && !at::equal(run(*network, x), expected)) ++wrong;
        if (i % 3 == 1 && network->weights().empty()) ++wrong;
        if (i % 3 == 2) {
          const at::AutoGradMode recorded(true);
          if (!run(*network, x.clone().requires_grad_(true)).requires_grad()) ++wrong;
        }
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
