#include "core/host_loops.hpp"

#include <cmath>

namespace glint::host {
namespace {

template <typename Expression>
using Number = typename std::decay_t<Expression>::Scalar;

/// Writes f(x) over x.
template <typename F>
const Tensor& overwrite(const Tensor& x, F f) {
  visit(x.scalar_type(), [&](auto zero) {
    auto values = flat<decltype(zero)>(x);
    values = f(values);
  });
  return x;
}

}  // namespace

Tensor Tensor::add(const Tensor& other, double factor) const {
  if (factor == 1.0) return elementwise(*this, other, [](const auto& a, const auto& b) { return a + b; });
  return elementwise(*this, other, [factor](const auto& a, const auto& b) {
    return a + static_cast<Number<decltype(a)>>(factor) * b;
  });
}
Tensor Tensor::sub(const Tensor& other, double factor) const { return add(other, -factor); }
Tensor Tensor::mul(const Tensor& other) const {
  return elementwise(*this, other, [](const auto& a, const auto& b) { return a * b; });
}
Tensor Tensor::div(const Tensor& other) const {
  return elementwise(*this, other, [](const auto& a, const auto& b) { return a / b; });
}
Tensor Tensor::add(double value) const {
  return elementwise(*this, [value](const auto& a) { return a + static_cast<Number<decltype(a)>>(value); });
}
Tensor Tensor::mul(double value) const {
  return elementwise(*this, [value](const auto& a) { return a * static_cast<Number<decltype(a)>>(value); });
}
Tensor Tensor::div(double value) const {
  return elementwise(*this, [value](const auto& a) { return a / static_cast<Number<decltype(a)>>(value); });
}

const Tensor& Tensor::add_(const Tensor& other, double factor) const {
  const Tensor same = other.to(scalar_type()).expand(sizes());
  visit(scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    flat<T>(*this) += static_cast<T>(factor) * flat<T>(same);
  });
  return *this;
}
const Tensor& Tensor::add_(double value) const {
  return overwrite(*this, [value](const auto& a) { return a + static_cast<Number<decltype(a)>>(value); });
}
const Tensor& Tensor::mul_(double value) const {
  return overwrite(*this, [value](const auto& a) { return a * static_cast<Number<decltype(a)>>(value); });
}
const Tensor& Tensor::div_(double value) const {
  return overwrite(*this, [value](const auto& a) { return a / static_cast<Number<decltype(a)>>(value); });
}
const Tensor& Tensor::sign_() const {
  return overwrite(*this, [](const auto& a) { return a.sign(); });
}
const Tensor& Tensor::copy_(const Tensor& values) const {
  const Tensor same = values.to(scalar_type()).expand(sizes());
  visit(scalar_type(), [&](auto zero) { flat<decltype(zero)>(*this) = flat<decltype(zero)>(same); });
  return *this;
}

Tensor Tensor::abs() const {
  return elementwise(*this, [](const auto& a) { return a.abs(); });
}
Tensor Tensor::square() const {
  return elementwise(*this, [](const auto& a) { return a.square(); });
}
Tensor Tensor::sqrt() const {
  return elementwise(*this, [](const auto& a) { return a.sqrt(); });
}
Tensor Tensor::exp() const {
  return elementwise(*this, [](const auto& a) { return a.exp(); });
}
Tensor Tensor::log() const {
  return elementwise(*this, [](const auto& a) { return a.log(); });
}
Tensor Tensor::reciprocal() const {
  return elementwise(*this, [](const auto& a) { return a.inverse(); });
}
Tensor Tensor::clamp_min(double value) const {
  return elementwise(*this, [value](const auto& a) {
    const auto least = static_cast<Number<decltype(a)>>(value);
    return (a < least).select(least, a).eval();
  });
}
Tensor Tensor::clamp_max(double value) const {
  return elementwise(*this, [value](const auto& a) {
    const auto most = static_cast<Number<decltype(a)>>(value);
    return (a > most).select(most, a).eval();
  });
}
Tensor Tensor::le(double value) const {
  return compared(*this, [value](double v, int64_t) { return v <= value; });
}
Tensor Tensor::ge(double value) const {
  return compared(*this, [value](double v, int64_t) { return v >= value; });
}
Tensor Tensor::le(const Tensor& other) const {
  const Tensor wide = other.to(kDouble).expand(sizes());
  return compared(*this, [&](double v, int64_t i) { return v <= wide.data_ptr<double>()[i]; });
}
Tensor Tensor::gt(const Tensor& other) const {
  const Tensor wide = other.to(kDouble).expand(sizes());
  return compared(*this, [&](double v, int64_t i) { return v > wide.data_ptr<double>()[i]; });
}

Tensor Tensor::where(const Tensor& condition, const Tensor& other) const {
  const std::vector<int64_t> sizes =
      broadcast_sizes(condition.sizes(), broadcast_sizes(this->sizes(), other.sizes()));
  const Tensor mask = condition.expand(sizes);
  const ScalarType type = promoted(*this, other);
  const Tensor a = to(type).expand(sizes), b = other.to(type).expand(sizes);
  Tensor out = empty(sizes, type);
  visit(type, [&](auto zero) {
    using T = decltype(zero);
    const double* chosen = mask.data_ptr<double>();
    const T *yes = a.data_ptr<T>(), *no = b.data_ptr<T>();
    for (int64_t i = 0; i < out.numel(); ++i) out.data_ptr<T>()[i] = chosen[i] != 0.0 ? yes[i] : no[i];
  });
  return out;
}
Tensor Tensor::masked_fill(const Tensor& mask, double value) const {
  return full({}, value, options()).where(mask, *this);
}

Tensor Tensor::sum() const { return flatten().sum(0).reshape({}); }
Tensor Tensor::mean() const { return flatten().mean(0).reshape({}); }
Tensor Tensor::min() const {
  return reduced(flatten(), 0,
                 [](const auto& line) { return line.template minCoeff<Eigen::PropagateNaN>(); });
}
Tensor Tensor::max() const {
  return reduced(flatten(), 0,
                 [](const auto& line) { return line.template maxCoeff<Eigen::PropagateNaN>(); });
}
Tensor Tensor::sum(int64_t d) const {
  return reduced(*this, d, [](const auto& line) { return line.sum(); });
}
Tensor Tensor::mean(int64_t d) const {
  return reduced(*this, d, [](const auto& line) { return line.mean(); });
}
Tensor Tensor::std(int64_t d) const {
  return reduced(*this, d, [](const auto& line) {
    const double mean = line.mean();
    return std::sqrt((line - mean).square().sum() / static_cast<double>(line.size() - 1));
  });
}

Tensor Tensor::argsort(int64_t d, bool descending) const {
  const Around a(*this, d);
  const Tensor values = to(kDouble);
  Tensor out = empty(sizes(), kLong);
  std::vector<int64_t> order(static_cast<size_t>(a.count));
  for (int64_t o = 0; o < a.outer; ++o)
    for (int64_t i = 0; i < a.inner; ++i) {
      const auto place = [&](int64_t k) { return (o * a.count + k) * a.inner + i; };
      const auto at = [&](int64_t k) { return values.data_ptr<double>()[place(k)]; };
      std::iota(order.begin(), order.end(), int64_t{0});
      std::stable_sort(order.begin(), order.end(),
                       [&](int64_t x, int64_t y) { return descending ? at(x) > at(y) : at(x) < at(y); });
      for (int64_t k = 0; k < a.count; ++k)
        out.data_ptr<double>()[place(k)] = static_cast<double>(order[static_cast<size_t>(k)]);
    }
  return out;
}

Tensor lerp(const Tensor& start, const Tensor& end, double weight) {
  // The end that is nearer, so that weights 0 and 1 give the ends themselves.
  if (std::abs(weight) < 0.5)
    return elementwise(start, end, [weight](const auto& a, const auto& b) {
      return a + static_cast<Number<decltype(a)>>(weight) * (b - a);
    });
  return elementwise(start, end, [weight](const auto& a, const auto& b) {
    return b - (b - a) * (1 - static_cast<Number<decltype(a)>>(weight));
  });
}

Tensor softmax(const Tensor& x, int64_t d) {
  const Tensor largest =
      reduced(x, d, [](const auto& line) { return line.template maxCoeff<Eigen::PropagateNaN>(); });
  const Tensor powers = x.sub(largest.unsqueeze(d)).exp();
  return powers.div(powers.sum(d).unsqueeze(d));
}

bool equal(const Tensor& a, const Tensor& b) {
  if (!(a.sizes() == b.sizes())) return false;
  const ScalarType type = promoted(a, b);
  const Tensor x = a.to(type), y = b.to(type);
  return visit(type, [&](auto zero) { return (flat<decltype(zero)>(x) == flat<decltype(zero)>(y)).all(); });
}

Tensor conv2d(const Tensor& planes, const Tensor& kernel) {
  const int64_t k = kernel.size(-1), height = planes.size(-2) - k + 1, width = planes.size(-1) - k + 1;
  GLINT_CHECK(planes.dim() == 4 && planes.size(1) == 1 && kernel.size(-2) == k && kernel.numel() == k * k,
              ShapeMismatch, "conv2d: expected planes [N,1,H,W] and a kernel [1,1,K,K], got {} and {}",
              shape_string(planes.sizes()), shape_string(kernel.sizes()));
  Tensor out = zeros({planes.size(0), 1, height, width}, planes.options());
  visit(planes.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    using Plane = Eigen::Array<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    for (int64_t n = 0; n < planes.size(0); ++n) {
      const Eigen::Map<const Plane> in(planes[n].data_ptr<T>(), planes.size(-2), planes.size(-1));
      Eigen::Map<Plane> result(out[n].data_ptr<T>(), height, width);
      for (int64_t y = 0; y < height; ++y)  // a row stays in the nearest cache
        for (int64_t i = 0; i < k * k; ++i)
          result.row(y) += kernel.data_ptr<T>()[i] * in.row(y + i / k).segment(i % k, width);
    }
  });
  return out;
}

Tensor reflection_pad2d(const Tensor& planes, IntArrayRef margins) {
  const int64_t height = planes.size(-2), width = planes.size(-1);
  const int64_t left = margins[0], right = margins[1], top = margins[2], bottom = margins[3];
  GLINT_CHECK((std::max)(left, right) < width && (std::max)(top, bottom) < height, ShapeMismatch,
              "reflection_pad2d: margins {} do not fit {}", shape_string(margins),
              shape_string(planes.sizes()));
  const auto mirrored = [](int64_t i, int64_t n) { return i < 0 ? -i : i < n ? i : 2 * (n - 1) - i; };
  const auto indices = [&](int64_t n, int64_t before, int64_t after) {
    Tensor list = empty({n + before + after}, kLong);
    for (int64_t i = -before; i < n + after; ++i)
      list.data_ptr<double>()[i + before] = static_cast<double>(mirrored(i, n));
    return list;
  };
  return planes.index_select(-2, indices(height, top, bottom)).index_select(-1, indices(width, left, right));
}

Tensor upsample_bilinear2d(const Tensor& planes, IntArrayRef sizes, bool align_corners) {
  GLINT_CHECK(!align_corners, InvalidArgument, "upsample_bilinear2d: align_corners is not supported");
  Tensor out = planes;
  for (int64_t d : {int64_t{-2}, int64_t{-1}}) {
    const int64_t from = planes.size(d), to = sizes[d == -2 ? 0 : 1];
    Tensor low = empty({to}, kLong), high = empty({to}, kLong), share = empty({to}, kDouble);
    for (int64_t i = 0; i < to; ++i) {
      const double place = (std::max)(
          0.0, (static_cast<double>(i) + 0.5) * static_cast<double>(from) / static_cast<double>(to) - 0.5);
      const double floor = (std::min)(std::floor(place), static_cast<double>(from - 1));
      low.data_ptr<double>()[i] = floor;
      high.data_ptr<double>()[i] = (std::min)(floor + 1.0, static_cast<double>(from - 1));
      share.data_ptr<double>()[i] = place - floor;
    }
    const Tensor weight = (d == -2 ? share.reshape({to, 1}) : share).to(planes.scalar_type());
    const Tensor below = out.index_select(d, low), above = out.index_select(d, high);
    out = below.add(above.sub(below).mul(weight));
  }
  return out;
}

}  // namespace glint::host
