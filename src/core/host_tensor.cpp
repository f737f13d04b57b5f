#include "core/host_loops.hpp"

#include <cmath>
#include <cstring>
#include <new>

namespace glint::host {
namespace {

constexpr std::align_val_t kAlignment{64};

}  // namespace

const char* toString(ScalarType type) {
  constexpr const char* kNames[] = {"Float", "Double", "Bool", "Long"};
  return kNames[static_cast<size_t>(type)];
}

Device::Device(std::string_view name) {
  GLINT_CHECK(name == "cpu", UnsupportedDevice, "device: the light core has the CPU only, got '{}'", name);
}

Tensor empty(IntArrayRef sizes, const TensorOptions& options) {
  for (int64_t size : sizes)
    GLINT_CHECK(size >= 0, ShapeMismatch, "sizes: expected none below 0, got {}", shape_string(sizes));
  auto array = std::make_shared<Tensor::Array>();
  array->sizes = sizes.vec();
  array->numel = product(sizes);
  array->type = options.type;
  const size_t bytes = static_cast<size_t>(array->numel) * bytes_of(options.type);
  void* memory = ::operator new((std::max)(bytes, size_t{1}), kAlignment, std::nothrow);
  GLINT_CHECK(memory, OutOfMemory, "tensor {}: {} bytes cannot be had", shape_string(sizes), bytes);
  array->memory = {static_cast<std::byte*>(memory), [](std::byte* p) { ::operator delete(p, kAlignment); }};
  Tensor result;
  result.array_ = std::move(array);
  return result;
}

Tensor full(IntArrayRef sizes, double value, const TensorOptions& options) {
  Tensor out = empty(sizes, options);
  visit(options.type, [&](auto zero) {
    using T = decltype(zero);
    flat<T>(out).setConstant(static_cast<T>(value));
  });
  return out;
}

Tensor tensor(std::initializer_list<double> values, const TensorOptions& options) {
  const Tensor out = empty({static_cast<int64_t>(values.size())}, kDouble);
  std::copy(values.begin(), values.end(), out.data_ptr<double>());
  return out.to(options);
}

size_t Tensor::position(int64_t d) const {
  GLINT_CHECK(d >= -dim() && d < dim(), ShapeMismatch, "dimension: expected one of {}, got {}",
              shape_string(sizes()), d);
  return static_cast<size_t>(d < 0 ? d + dim() : d);
}

template <typename T>
T* Tensor::data_ptr() const {
  GLINT_CHECK((scalar_type() == kFloat) == (std::is_same_v<T, float>), UnsupportedDtype,
              "data: the elements of a {} tensor have another type", toString(scalar_type()));
  return reinterpret_cast<T*>(array_->memory.get());
}
template float* Tensor::data_ptr<float>() const;
template double* Tensor::data_ptr<double>() const;

double Tensor::value() const {
  GLINT_CHECK(defined() && numel() == 1, ShapeMismatch, "item: expected one element, got {}",
              defined() ? shape_string(sizes()) : "an undefined tensor");
  return visit(scalar_type(), [&](auto zero) { return static_cast<double>(*data_ptr<decltype(zero)>()); });
}

Tensor Tensor::shared(std::vector<int64_t> sizes, int64_t offset) const {
  auto array = std::make_shared<Array>(*array_);
  array->numel = product(sizes);
  array->sizes = std::move(sizes);
  const auto bytes = static_cast<size_t>(offset) * bytes_of(scalar_type());
  array->memory = {array_->memory, array_->memory.get() + bytes};
  Tensor result;
  result.array_ = std::move(array);
  return result;
}

Tensor& Tensor::operator=(const Tensor& values) && {
  copy_(values);
  return *this;
}

Tensor Tensor::to(ScalarType type) const {
  if (type == scalar_type()) return *this;
  Tensor out = empty(sizes(), type);
  visit(scalar_type(), [&](auto from) {
    visit(type, [&](auto into) {
      flat<decltype(into)>(out) = flat<decltype(from)>(*this).template cast<decltype(into)>();
    });
  });
  if (type == kBool) return compared(out, [](double v, int64_t) { return v != 0.0; });
  if (type == kLong) flat<double>(out) = flat<double>(out).unaryExpr([](double v) { return std::trunc(v); });
  return out;
}

Tensor Tensor::clone() const {
  Tensor out = empty_like(*this);
  out.copy_(*this);
  return out;
}

Tensor Tensor::new_zeros(IntArrayRef sizes) const { return zeros(sizes, options()); }

Tensor Tensor::reshape(IntArrayRef wanted) const {
  std::vector<int64_t> sizes = wanted.vec();
  const auto open = std::find(sizes.begin(), sizes.end(), -1);
  if (open != sizes.end()) {
    *open = 1;
    *open = product(sizes) == 0 ? 0 : numel() / product(sizes);
  }
  GLINT_CHECK(product(sizes) == numel(), ShapeMismatch, "reshape: {} does not hold the elements of {}",
              shape_string(wanted), shape_string(this->sizes()));
  return shared(std::move(sizes));
}

Tensor Tensor::flatten(int64_t first) const {
  if (dim() == 0) return reshape({1});
  std::vector<int64_t> kept(sizes().begin(), sizes().begin() + position(first));
  kept.push_back(product(sizes().slice(position(first))));
  return reshape(kept);
}

Tensor Tensor::squeeze(int64_t d) const {
  std::vector<int64_t> kept = sizes().vec();
  if (size(d) == 1) kept.erase(kept.begin() + static_cast<std::ptrdiff_t>(position(d)));
  return reshape(kept);
}

Tensor Tensor::unsqueeze(int64_t d) const {
  std::vector<int64_t> kept = sizes().vec();
  kept.insert(kept.begin() + (d < 0 ? d + dim() + 1 : d), 1);
  return reshape(kept);
}

Tensor Tensor::expand(IntArrayRef wanted) const {
  if (sizes() == wanted) return *this;
  if (numel() == 1) return full(wanted, value(), options());
  GLINT_CHECK(broadcast_sizes(sizes(), wanted) == wanted.vec(), ShapeMismatch,
              "expand: {} does not become {}", shape_string(sizes()), shape_string(wanted));
  std::vector<int64_t> own(wanted.size() - sizes().size(), 1);
  own.insert(own.end(), sizes().begin(), sizes().end());
  Tensor out = reshape(own);
  for (size_t d = own.size(); d-- > 0;) {  // one dimension after the other: each repeats whole blocks
    if (own[d] == wanted[d]) continue;
    std::vector<int64_t> times(own.size(), 1);
    times[d] = wanted[d];
    out = out.repeat(times);
  }
  return out;
}

Tensor Tensor::repeat(IntArrayRef times) const {
  Tensor out = *this;
  for (int64_t d = 0; d < dim(); ++d) {
    const int64_t n = times[static_cast<size_t>(d)];
    if (n == 1) continue;
    const Tensor from = out;
    const Around a(from, d);
    std::vector<int64_t> sizes = from.sizes().vec();
    sizes[static_cast<size_t>(d)] *= n;
    out = empty(sizes, from.options());
    visit(from.scalar_type(), [&](auto zero) {
      using T = decltype(zero);
      const T* block = from.data_ptr<T>();
      T* into = out.data_ptr<T>();
      const int64_t size = a.count * a.inner;
      for (int64_t o = 0; o < a.outer; ++o, block += size)
        if (size == 1)
          into = std::fill_n(into, n, *block);
        else
          for (int64_t k = 0; k < n; ++k) into = std::copy_n(block, size, into);
    });
  }
  return out;
}

Tensor Tensor::select(int64_t d, int64_t index) const {
  const int64_t at = index < 0 ? index + size(d) : index;
  return slice(d, at, at + 1).squeeze(d);
}

Tensor Tensor::slice(int64_t d, int64_t begin, int64_t end) const {
  const Around a(*this, d);
  begin = std::clamp<int64_t>(begin < 0 ? begin + a.count : begin, 0, a.count);
  end = std::clamp<int64_t>(end < 0 ? end + a.count : end, begin, a.count);
  std::vector<int64_t> sizes = this->sizes().vec();
  sizes[position(d)] = end - begin;
  if (a.outer == 1) return shared(std::move(sizes), begin * a.inner);
  Tensor out = empty(sizes, options());
  const size_t unit = bytes_of(scalar_type());
  const auto row = static_cast<size_t>((end - begin) * a.inner) * unit;
  std::byte* into = out.array_->memory.get();
  for (int64_t o = 0; o < a.outer; ++o, into += row)
    std::memcpy(into, array_->memory.get() + static_cast<size_t>((o * a.count + begin) * a.inner) * unit,
                row);
  return out;
}

Tensor Tensor::index_select(int64_t d, const Tensor& index) const {
  const Around a(*this, d);
  std::vector<int64_t> sizes = this->sizes().vec();
  sizes[position(d)] = index.numel();
  std::vector<int64_t> places;
  for (int64_t i = 0; i < index.numel(); ++i) {
    places.push_back(static_cast<int64_t>(index.data_ptr<double>()[i]));
    GLINT_CHECK(places.back() >= 0 && places.back() < a.count, ShapeMismatch,
                "index_select: expected indices from 0 to {}, got {}", a.count - 1, places.back());
  }
  Tensor out = empty(sizes, options());
  visit(scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    const T* from = data_ptr<T>();
    T* into = out.data_ptr<T>();
    for (int64_t o = 0; o < a.outer; ++o, from += a.count * a.inner)
      for (const int64_t place : places)
        if (a.inner == 1)
          *into++ = from[place];
        else
          into = std::copy_n(from + place * a.inner, a.inner, into);
  });
  return out;
}

Tensor Tensor::index_copy(int64_t d, const Tensor& index, const Tensor& source) const {
  std::vector<Tensor> rows;
  for (int64_t i = 0; i < size(d); ++i) rows.push_back(slice(d, i, i + 1));
  for (int64_t i = 0; i < index.numel(); ++i)
    rows[static_cast<size_t>(index.data_ptr<double>()[i])] = source.slice(d, i, i + 1);
  return cat(rows, d);
}

Tensor Tensor::gather(int64_t d, const Tensor& index) const {
  const Around own(*this, d), wanted(index, d);
  GLINT_CHECK(own.outer == wanted.outer && own.inner == wanted.inner, ShapeMismatch,
              "gather: index {} does not fit {}", shape_string(index.sizes()), shape_string(sizes()));
  Tensor out = empty(index.sizes(), options());
  visit(scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    for (int64_t i = 0; i < out.numel(); ++i) {
      const int64_t o = i / (wanted.count * wanted.inner), rest = i % wanted.inner;
      const auto at = static_cast<int64_t>(index.data_ptr<double>()[i]);
      out.data_ptr<T>()[i] = data_ptr<T>()[(o * own.count + at) * own.inner + rest];
    }
  });
  return out;
}

Tensor cat(const std::vector<Tensor>& tensors, int64_t d) {
  GLINT_CHECK(!tensors.empty(), ShapeMismatch, "cat: expected tensors, got none");
  std::vector<int64_t> sizes = tensors.front().sizes().vec();
  const auto place = static_cast<size_t>(d < 0 ? d + tensors.front().dim() : d);
  sizes[place] = 0;
  for (const Tensor& t : tensors) {
    std::vector<int64_t> expected = sizes;
    GLINT_CHECK(
        t.dim() == static_cast<int64_t>(sizes.size()) && t.scalar_type() == tensors.front().scalar_type(),
        ShapeMismatch, "cat: {} does not fit {}", shape_string(t.sizes()),
        shape_string(tensors.front().sizes()));
    expected[place] = t.size(d);
    GLINT_CHECK(t.sizes() == IntArrayRef(expected), ShapeMismatch, "cat: {} does not fit {}",
                shape_string(t.sizes()), shape_string(tensors.front().sizes()));
    sizes[place] += t.size(d);
  }
  Tensor out = empty(sizes, tensors.front().options());
  const Around all(out, d);
  visit(out.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    T* into = out.data_ptr<T>();
    for (int64_t o = 0; o < all.outer; ++o)
      for (const Tensor& t : tensors) {
        const int64_t row = t.size(d) * all.inner;
        into = std::copy_n(t.data_ptr<T>() + o * row, row, into);
      }
  });
  return out;
}

}  // namespace glint::host
