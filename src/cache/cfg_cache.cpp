#include <glint/cache/cfg_cache.hpp>

#ifdef GLINT_CORE_ONLY
#include <cmath>
#include <complex>
#include <numbers>
#else
#include <ATen/ops/fft_irfft2.h>
#include <ATen/ops/fft_rfft2.h>
#endif

namespace glint::detail {
namespace {

int64_t kept_radius(int64_t height, int64_t width) { return (std::min)(height, width) / 5; }

}  // namespace

#ifdef GLINT_CORE_ONLY

namespace {

using Complex = std::complex<double>;

/// e^(i 2 pi k / n) for k = 0 ... n - 1.
std::vector<Complex> roots(int64_t n) {
  std::vector<Complex> all;
  for (int64_t k = 0; k < n; ++k)
    all.push_back(std::polar(1.0, 2.0 * std::numbers::pi * static_cast<double>(k) / static_cast<double>(n)));
  return all;
}

const Complex& power(const std::vector<Complex>& unit, int64_t exponent) {
  const auto n = static_cast<int64_t>(unit.size());
  return unit[static_cast<size_t>((exponent % n + n) % n)];
}

/// Replaces a plane [height,width] by its low frequencies: the sums of its transform over what is kept of it,
/// which is little.
void keep_low(double* plane, int64_t height, int64_t width) {
  const std::vector<Complex> down = roots(height), across = roots(width);
  const int64_t radius = kept_radius(height, width);
  std::vector<double> low(static_cast<size_t>(height * width), 0.0);
  std::vector<Complex> line(static_cast<size_t>(height)), filtered;
  for (int64_t column = 0; column <= radius; ++column) {
    for (int64_t y = 0; y < height; ++y) {
      Complex sum = 0.0;
      for (int64_t x = 0; x < width; ++x) sum += plane[y * width + x] * power(across, -column * x);
      line[static_cast<size_t>(y)] = sum;
    }
    filtered.assign(line.size(), 0.0);
    for (int64_t row = -radius; row <= radius; ++row) {
      if (row * row + column * column > radius * radius) continue;
      Complex sum = 0.0;
      for (int64_t y = 0; y < height; ++y) sum += line[static_cast<size_t>(y)] * power(down, -row * y);
      for (int64_t y = 0; y < height; ++y) filtered[static_cast<size_t>(y)] += sum * power(down, row * y);
    }
    // A real plane has each column but the first twice, once conjugated.
    const double weight = (column == 0 ? 1.0 : 2.0) / static_cast<double>(height * width);
    for (int64_t y = 0; y < height; ++y)
      for (int64_t x = 0; x < width; ++x)
        low[static_cast<size_t>(y * width + x)] +=
            weight * (filtered[static_cast<size_t>(y)] * power(across, column * x)).real();
  }
  std::copy(low.begin(), low.end(), plane);
}

}  // namespace

at::Tensor low_frequencies(const at::Tensor& x) {
  const int64_t height = x.size(-2), width = x.size(-1);
  at::Tensor low = x.to(at::kDouble).clone();
  for (int64_t at = 0; at < low.numel(); at += height * width)
    keep_low(low.data_ptr<double>() + at, height, width);
  return low.to(x.scalar_type());
}

#else

at::Tensor low_frequencies(const at::Tensor& x) {
  const int64_t height = x.size(-2), width = x.size(-1), radius = kept_radius(height, width);
  at::Tensor spectrum = at::fft_rfft2(x.to(at::kDouble));
  const int64_t columns = spectrum.size(-1);
  at::Tensor mask = at::zeros({height, columns}, at::kDouble);
  auto inside = mask.accessor<double, 2>();
  for (int64_t row = 0; row < height; ++row)
    for (int64_t column = 0; column < columns; ++column) {
      const int64_t vertical =
          std::min(row, height - row);  // rows beyond the middle are negative frequencies
      inside[row][column] = vertical * vertical + column * column <= radius * radius ? 1.0 : 0.0;
    }
  return at::fft_irfft2(spectrum.mul(mask.to(x.device())), at::IntArrayRef{height, width})
      .to(x.scalar_type());
}

#endif

}  // namespace glint::detail
