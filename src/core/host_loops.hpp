// The loops behind the light core's tensor: over all elements, over pairs, over lines.
#pragma once

#include <glint/core/error.hpp>
#include <glint/core/host_tensor.hpp>
#include <glint/core/tensor.hpp>

#include <Eigen/Core>

#include <algorithm>
#include <functional>
#include <numeric>
#include <type_traits>

namespace glint::host {

inline int64_t product(IntArrayRef sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), int64_t{1}, std::multiplies<>());
}

inline size_t bytes_of(ScalarType type) { return type == kFloat ? sizeof(float) : sizeof(double); }

/// Calls f with a value of the type that holds a tensor's elements.
template <typename F>
decltype(auto) visit(ScalarType type, F f) {
  return type == kFloat ? f(float{}) : f(double{});
}

template <typename T>
auto flat(const Tensor& t) {
  return Eigen::Map<Eigen::Array<T, Eigen::Dynamic, 1>>(t.data_ptr<T>(), t.numel());
}

/// A tensor seen as [outer, count, inner] around one dimension.
struct Around {
  int64_t outer = 1, count, inner = 1;
  Around(const Tensor& t, int64_t d) : count(t.size(d)) {
    const int64_t place = d < 0 ? d + t.dim() : d;
    for (int64_t i = 0; i < t.dim(); ++i)
      if (i != place) (i < place ? outer : inner) *= t.size(i);
  }
};

/// Numbers promote over masks and indices, doubles over floats; a tensor without dimensions gives way.
inline ScalarType promoted(const Tensor& a, const Tensor& b) {
  if (a.scalar_type() == b.scalar_type()) return a.scalar_type();
  const auto weight = [](const Tensor& t) {
    const ScalarType type = t.scalar_type();
    return (type == kFloat ? 4 : type == kDouble ? 5 : type == kLong ? 1 : 0) - (t.dim() == 0 ? 2 : 0);
  };
  return weight(a) >= weight(b) ? a.scalar_type() : b.scalar_type();
}

inline std::vector<int64_t> broadcast_sizes(IntArrayRef a, IntArrayRef b) {
  std::vector<int64_t> sizes((std::max)(a.size(), b.size()), 1);
  for (size_t i = 1; i <= sizes.size(); ++i) {
    const int64_t x = i <= a.size() ? a[a.size() - i] : 1, y = i <= b.size() ? b[b.size() - i] : 1;
    GLINT_CHECK(x == y || x == 1 || y == 1, ShapeMismatch, "sizes {} and {} do not broadcast",
                shape_string(a), shape_string(b));
    sizes[sizes.size() - i] = x == 1 ? y : x;
  }
  return sizes;
}

template <typename F>
Tensor elementwise(const Tensor& x, F f) {
  Tensor out = empty_like(x);
  visit(x.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    flat<T>(out) = f(flat<T>(x));
  });
  return out;
}

/// The number of equal parts of `sizes` in each of which a tensor that broadcasts to them is one value, as
/// [B,1,1] is to [B,C,W]; 0 if there are none.
inline int64_t constant_parts(IntArrayRef own, IntArrayRef sizes) {
  const size_t missing = sizes.size() - own.size();
  size_t i = 0;
  while (i < own.size() && own[i] == sizes[missing + i]) ++i;
  const bool led = product(own) == 1 || product({sizes.begin(), missing}) == 1;
  return led && product(own.slice(i)) == 1 ? product(own) : 0;
}

/// out = f(x, y) for operands of out's sizes, or of one value for each of some equal parts.
template <typename T, typename X, typename Y, typename F>
void fill_parts(const Tensor& out, const Tensor& x, const Tensor& y, F f) {
  const auto a = flat<X>(x).template cast<T>();
  const auto b = flat<Y>(y).template cast<T>();
  using Constant = Eigen::Array<T, Eigen::Dynamic, 1>;
  auto result = flat<T>(out);
  if (x.numel() == y.numel()) {
    result = f(a, b);
    return;
  }
  const int64_t parts = (std::min)(x.numel(), y.numel()), size = out.numel() / parts;
  for (int64_t p = 0; p < parts; ++p)
    if (x.numel() < y.numel())
      result.segment(p * size, size) = f(Constant::Constant(size, a(p)), b.segment(p * size, size));
    else
      result.segment(p * size, size) = f(a.segment(p * size, size), Constant::Constant(size, b(p)));
}

/// f of two tensors of any shapes that broadcast, and any dtypes.
template <typename F>
Tensor elementwise(const Tensor& x, const Tensor& y, F f) {
  const ScalarType type = promoted(x, y);
  const std::vector<int64_t> sizes = broadcast_sizes(x.sizes(), y.sizes());
  const Tensor out = empty(sizes, type);
  if (out.numel() == 0) return out;
  const auto fits = [&](const Tensor& t) { return t.numel() == out.numel(); };
  const auto operand = [&](const Tensor& t, const Tensor& other) {
    return fits(t) || (fits(other) && constant_parts(t.sizes(), sizes) > 0) ? t : t.expand(sizes);
  };
  const Tensor a = operand(x, y), b = operand(y, x);
  if (type == kFloat) {
    fill_parts<float, float, float>(out, a.to(kFloat), b.to(kFloat), f);
    return out;
  }
  visit(a.scalar_type(), [&](auto of_a) {
    visit(b.scalar_type(),
          [&](auto of_b) { fill_parts<double, decltype(of_a), decltype(of_b)>(out, a, b, f); });
  });
  return out;
}

template <typename F>
Tensor compared(const Tensor& x, F holds) {
  Tensor mask = empty(x.sizes(), kBool);
  visit(x.scalar_type(), [&](auto zero) {
    const auto* in = x.data_ptr<decltype(zero)>();
    for (int64_t i = 0; i < x.numel(); ++i) mask.data_ptr<double>()[i] = holds(static_cast<double>(in[i]), i);
  });
  return mask;
}

/// Applies f(row, stride, count) to every line along d, in double; the result has d removed.
template <typename F>
Tensor reduced(const Tensor& x, int64_t d, F f) {
  const Around a(x, d);
  std::vector<int64_t> sizes = x.sizes().vec();
  sizes.erase(sizes.begin() + (d < 0 ? d + x.dim() : d));
  Tensor out = empty(sizes, x.scalar_type() == kFloat ? kFloat : kDouble);
  visit(x.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    using Line = Eigen::Array<T, Eigen::Dynamic, 1>;
    const T* const values = x.data_ptr<T>();
    T* const results = out.data_ptr<T>();
    if (a.inner == 1) {  // known at compile time, so that it is vectorized
      for (int64_t o = 0; o < a.outer; ++o)
        results[o] =
            static_cast<T>(f(Eigen::Map<const Line>(values + o * a.count, a.count).template cast<double>()));
      return;
    }
    for (int64_t o = 0; o < a.outer; ++o)
      for (int64_t i = 0; i < a.inner; ++i) {
        const Eigen::Map<const Line, 0, Eigen::InnerStride<>> line(values + o * a.count * a.inner + i,
                                                                   a.count, Eigen::InnerStride<>(a.inner));
        results[o * a.inner + i] = static_cast<T>(f(line.template cast<double>()));
      }
  });
  return out;
}

}  // namespace glint::host
