#include <glint/cache/cfg_cache.hpp>

#include <ATen/ops/fft_irfft2.h>
#include <ATen/ops/fft_rfft2.h>

namespace glint::detail {

at::Tensor low_frequencies(const at::Tensor& x) {
  const int64_t height = x.size(-2), width = x.size(-1), radius = std::min(height, width) / 5;
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

}  // namespace glint::detail
