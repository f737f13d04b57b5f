// Noise: torch's own for a batch of one, the same for a sample whatever its batch.
#include <glint/core/rng.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/errors.hpp"
#include "tests/support/tensors.hpp"

#ifndef GLINT_CORE_ONLY
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/randn.h>
#endif

#include <limits>

namespace glint {
namespace GLINT_TEST_FILE {

std::vector<double> ends(const at::Tensor& t) {
  const at::Tensor flat = t.flatten().to(at::kDouble);
  std::vector<double> values;
  for (int64_t i : {0, 1, 2}) values.push_back(flat[i].item<double>());
  for (int64_t i : {3, 2, 1}) values.push_back(flat[flat.numel() - i].item<double>());
  return values;
}

/// FNV-1a over the bytes of a tensor.
template <typename T>
uint64_t hash_of(const at::Tensor& t) {
  uint64_t hash = 0xcbf29ce484222325ULL;
  const auto* bytes = reinterpret_cast<const unsigned char*>(t.data_ptr<T>());
  for (size_t i = 0; i < static_cast<size_t>(t.numel()) * sizeof(T); ++i)
    hash = (hash ^ bytes[i]) * 0x100000001b3ULL;
  return hash;
}

#ifndef GLINT_CORE_ONLY  // there the bits below stand for torch
TEST_CASE("A batch of one draws what torch's CPU generator draws, call after call", "[unit]") {
  for (uint64_t seed : {uint64_t{0}, uint64_t{42}, std::numeric_limits<uint64_t>::max()}) {
    at::Generator generator = at::detail::createCPUGenerator(seed);
    NoiseStream stream(seed, 1);
    // Torch draws fewer than 16 values one by one, and more in blocks of 16 with a remainder.
    for (const std::vector<int64_t>& shape :
         std::vector<std::vector<int64_t>>{{4, 8, 8}, {3}, {16}, {2, 5, 7}, {1}}) {
      for (at::ScalarType dtype : {at::kFloat, at::kDouble}) {
        std::vector<int64_t> batched{1};
        batched.insert(batched.end(), shape.begin(), shape.end());
        CAPTURE(seed, shape, dtype == at::kDouble);
        CHECK(at::equal(stream.normal(shape, dtype), at::randn(batched, generator, at::dtype(dtype))));
      }
    }
  }
}

#endif

TEST_CASE("The bits of the noise, with libtorch and without", "[unit]") {
  // Draws of every kind: whole blocks of 16, a remainder, fewer than 16, float64 in between. Libtorch's
  // builds for x86 make these.
  NoiseStream stream(42, 2);
  CHECK(hash_of<float>(stream.normal({4, 64, 64})) == 14318964808993733652uLL);
  [[maybe_unused]] const uint64_t wide = hash_of<double>(stream.normal({3, 5, 7}, at::kDouble));
#ifndef __EMSCRIPTEN__  // whose C library rounds some float64 functions differently
  CHECK(wide == 134816390357291032uLL);
#endif
  CHECK(hash_of<float>(stream.normal({5})) == 14610908272402156174uLL);
  CHECK(hash_of<double>(stream.normal({3}, at::kDouble)) == 16289432914642226325uLL);
  CHECK(hash_of<float>(stream.normal({1, 1000003})) == 7235938514963354788uLL);
  NoiseStream largest(std::numeric_limits<uint64_t>::max(), 1);
  CHECK(hash_of<float>(largest.normal({17})) == 14162370480119570652uLL);
}

TEST_CASE("Noise is what Python's torch prints for the same seed", "[unit]") {
  // g = torch.Generator("cpu").manual_seed(42); torch.randn([1, 4, 8, 8], generator=g), twice: first and last
  // three.
  NoiseStream stream(42, 1);
  CHECK(ends(stream.normal({4, 8, 8})) == std::vector<double>{1.9269152879714966, 1.4872840642929077,
                                                              0.9007171988487244, 0.5655050277709961,
                                                              0.5057917237281799, 0.22245365381240845});
  CHECK(ends(stream.normal({4, 8, 8})) == std::vector<double>{-0.685481607913971, 0.5635589957237244,
                                                              -1.507175087928772, 0.42318588495254517,
                                                              -0.33889833092689514, 0.5179733633995056});
  // The same with dtype=torch.float64.
  NoiseStream wide(42, 1);
  CHECK(ends(wide.normal({4, 8, 8}, at::kDouble)) ==
        std::vector<double>{0.2995562877502637, 0.24237779080894106, 0.28320739441795323, 0.22899320285046032,
                            1.5547745398580755, 1.3818135139012033});
}

TEST_CASE("A sample's noise does not depend on its batch", "[unit]") {
  NoiseStream batch(5, 3);
  NoiseStream alone[] = {NoiseStream(5, 1), NoiseStream(6, 1), NoiseStream(7, 1)};
  for (int draw = 0; draw < 3; ++draw) {
    const at::Tensor together = batch.normal({4, 3, 5});
    for (int64_t b = 0; b < 3; ++b) CHECK(at::equal(together.slice(0, b, b + 1), alone[b].normal({4, 3, 5})));
  }
}

TEST_CASE("A fork keeps samples apart from their batch too, and so does a fork of it", "[unit]") {
  NoiseStream together = NoiseStream(5, 3).fork("select").fork("inner");
  const at::Tensor noise = together.normal({4, 8});
  for (uint64_t b = 0; b < 3; ++b) {
    NoiseStream alone = NoiseStream(5 + b, 1).fork("select").fork("inner");
    const auto at = static_cast<int64_t>(b);
    CHECK(at::equal(noise.slice(0, at, at + 1), alone.normal({4, 8})));
  }
}

TEST_CASE("Forks are reproducible, independent, and do not move the stream they come from", "[unit]") {
  constexpr int64_t kValues = 65536;
  NoiseStream plain(9, 2), forked(9, 2);
  NoiseStream a = forked.fork("a"), again = forked.fork("a"), b = forked.fork("b");
  CHECK(a.batch() == 2);
  const at::Tensor of_a = a.normal({kValues}), of_b = b.normal({kValues}),
                   of_parent = forked.normal({kValues});
  CHECK(at::equal(of_a, again.normal({kValues})));
  CHECK(at::equal(of_parent, plain.normal({kValues})));
  // The correlation of independent draws has a standard deviation of 1 / sqrt(2 kValues) = 0.003; 0.015 is
  // five of them.
  const auto correlation = [](const at::Tensor& x, const at::Tensor& y) {
    return std::abs(x.mul(y).mean().item<double>());
  };
  CHECK(correlation(of_a, of_b) < 0.015);
  CHECK(correlation(of_a, of_parent) < 0.015);
  CHECK(correlation(of_b, of_parent) < 0.015);
  CHECK(correlation(of_a, of_a) > 0.9);
  // The draws of the fork's samples are as independent of each other.
  CHECK(correlation(of_a[0], of_a[1]) < 0.025);
}

TEST_CASE("Noise like a tensor has its shape and dtype and moves the same stream", "[unit]") {
  NoiseStream like(3, 2), plain(3, 2);
  const at::Tensor x = at::zeros({2, 4, 6}, at::kDouble);
  CHECK(at::equal(like.normal_like(x), plain.normal({4, 6}, at::kDouble)));
  CHECK(like.normal_like(x.to(at::kFloat)).scalar_type() == at::kFloat);
}

TEST_CASE("A batch of nothing is refused", "[unit]") {
  for (int64_t batch : {0, -3}) {
    const std::string message = test::failure([&] { NoiseStream(1, batch); });
    CHECK(message == "InvalidArgument: batch: expected at least 1, got " + std::to_string(batch));
  }
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
