// The tensor of the light core: a contiguous array in the host's memory with ATen's names for what the
// algorithms use, and nothing else. Results differ from ATen's by rounding only.
#pragma once

#include <glint/export.hpp>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

namespace glint::host {

/// What an element is. Masks and indices are results of comparisons and sorting; they are held as doubles.
enum class ScalarType { Float32, Float64, Mask, Index };
inline constexpr ScalarType kFloat = ScalarType::Float32, kDouble = ScalarType::Float64,
                            kBool = ScalarType::Mask, kLong = ScalarType::Index;

GLINT_API const char* toString(ScalarType type);

/// The only device there is: the CPU.
struct Device {
  enum Type { Cpu };
  constexpr Device(Type) {}
  /// Errors: UnsupportedDevice for any other name than "cpu".
  GLINT_API explicit Device(std::string_view name);
  friend bool operator==(Device, Device) { return true; }
};
inline constexpr Device::Type kCPU = Device::Cpu;

struct TensorOptions {
  ScalarType type = kFloat;
  TensorOptions() = default;
  TensorOptions(ScalarType dtype) : type(dtype) {}
  TensorOptions dtype(ScalarType dtype) const { return dtype; }
};
inline TensorOptions dtype(ScalarType type) { return type; }

/// A borrowed list of sizes.
class IntArrayRef {
 public:
  IntArrayRef() = default;
  IntArrayRef(const int64_t* data, size_t size) : data_(data), size_(size) {}
  IntArrayRef(const std::vector<int64_t>& list) : IntArrayRef(list.data(), list.size()) {}
  IntArrayRef(const std::initializer_list<int64_t>& list) : IntArrayRef(list.begin(), list.size()) {}

  const int64_t* begin() const { return data_; }
  const int64_t* end() const { return data_ + size_; }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  int64_t operator[](size_t i) const { return data_[i]; }
  int64_t front() const { return data_[0]; }
  int64_t back() const { return data_[size_ - 1]; }
  IntArrayRef slice(size_t first) const { return {data_ + first, size_ - first}; }
  std::vector<int64_t> vec() const { return {begin(), end()}; }
  friend bool operator==(IntArrayRef a, IntArrayRef b) { return a.vec() == b.vec(); }

 private:
  const int64_t* data_ = nullptr;
  size_t size_ = 0;
};

class Generator;

/// A handle to a shared array; copies share it. Negative dimensions count from the end; sizes broadcast and
/// dtypes promote as in ATen. `view`, `reshape` and cuts along dimension 0 share memory; all else copies.
/// Errors:  ShapeMismatch or UnsupportedDtype for what does not fit.
/// Thread:  as the array's elements: reading is safe, writing is not.
class GLINT_API Tensor {
 public:
  Tensor() = default;
  Tensor(const Tensor&) = default;
  Tensor(Tensor&&) noexcept = default;
  Tensor& operator=(const Tensor&) & = default;
  Tensor& operator=(Tensor&&) & noexcept = default;
  /// Copies the values into a temporary, as in `x[0] = y`.
  Tensor& operator=(const Tensor& values) &&;

  bool defined() const { return array_ != nullptr; }
  void reset() { array_.reset(); }
  bool is_same(const Tensor& other) const { return array_ == other.array_; }
  IntArrayRef sizes() const { return array_->sizes; }
  int64_t dim() const { return static_cast<int64_t>(array_->sizes.size()); }
  int64_t size(int64_t d) const { return array_->sizes[position(d)]; }
  int64_t numel() const { return array_->numel; }
  ScalarType scalar_type() const { return array_->type; }
  TensorOptions options() const { return array_->type; }
  Device device() const { return kCPU; }

  /// The elements: T is float for kFloat, double for all else.
  template <typename T>
  T* data_ptr() const;
  /// The value of a tensor with one element.
  template <typename T>
  T item() const {
    return static_cast<T>(value());
  }

  Tensor to(ScalarType type) const;
  Tensor to(const TensorOptions& options) const { return to(options.type); }
  Tensor to(Device) const { return *this; }
  Tensor to(Device, ScalarType type) const { return to(type); }
  Tensor cpu() const { return *this; }
  Tensor contiguous() const { return *this; }
  Tensor detach() const { return *this; }
  Tensor clone() const;
  Tensor new_zeros(IntArrayRef sizes) const;

  Tensor reshape(IntArrayRef sizes) const;
  Tensor view(IntArrayRef sizes) const { return reshape(sizes); }
  Tensor flatten(int64_t first = 0) const;
  Tensor squeeze(int64_t d) const;
  Tensor unsqueeze(int64_t d) const;
  Tensor expand(IntArrayRef sizes) const;
  Tensor expand_as(const Tensor& other) const { return expand(other.sizes()); }
  Tensor repeat(IntArrayRef times) const;
  Tensor select(int64_t d, int64_t index) const;
  Tensor operator[](int64_t index) const { return select(0, index); }
  Tensor slice(int64_t d, int64_t begin, int64_t end) const;
  Tensor narrow(int64_t d, int64_t begin, int64_t length) const { return slice(d, begin, begin + length); }
  Tensor index_select(int64_t d, const Tensor& index) const;
  Tensor index_copy(int64_t d, const Tensor& index, const Tensor& source) const;
  Tensor gather(int64_t d, const Tensor& index) const;

  Tensor add(const Tensor& other, double factor = 1.0) const;
  Tensor sub(const Tensor& other, double factor = 1.0) const;
  Tensor mul(const Tensor& other) const;
  Tensor div(const Tensor& other) const;
  Tensor add(double value) const;
  Tensor sub(double value) const { return add(-value); }
  Tensor mul(double value) const;
  Tensor div(double value) const;
  const Tensor& add_(const Tensor& other, double factor = 1.0) const;
  const Tensor& sub_(const Tensor& other, double factor = 1.0) const { return add_(other, -factor); }
  const Tensor& add_(double value) const;
  const Tensor& mul_(double value) const;
  const Tensor& div_(double value) const;
  const Tensor& neg_() const { return mul_(-1.0); }
  const Tensor& sign_() const;
  const Tensor& copy_(const Tensor& values) const;
  /// Fills with normals, as torch's CPU generator draws them.
  const Tensor& normal_(double mean, double deviation, const Generator& generator) const;

  Tensor abs() const;
  Tensor square() const;
  Tensor sqrt() const;
  Tensor exp() const;
  Tensor log() const;
  Tensor reciprocal() const;
  Tensor clamp_min(double value) const;
  Tensor clamp_max(double value) const;
  Tensor le(double value) const;
  Tensor le(const Tensor& other) const;
  Tensor ge(double value) const;
  Tensor gt(const Tensor& other) const;
  /// Returns this where `condition` holds, else `other`.
  Tensor where(const Tensor& condition, const Tensor& other) const;
  Tensor masked_fill(const Tensor& mask, double value) const;

  Tensor sum() const;
  Tensor sum(int64_t d) const;
  Tensor mean() const;
  Tensor mean(int64_t d) const;
  Tensor std(int64_t d) const;
  Tensor min() const;
  Tensor max() const;
  Tensor argsort(int64_t d = -1, bool descending = false) const;

 private:
  friend Tensor empty(IntArrayRef sizes, const TensorOptions& options);
  struct Array {
    std::shared_ptr<std::byte> memory;  // where the elements begin; shared by views
    std::vector<int64_t> sizes;
    int64_t numel = 0;
    ScalarType type = kFloat;
  };

  size_t position(int64_t d) const;
  double value() const;
  Tensor shared(std::vector<int64_t> sizes, int64_t offset = 0) const;

  std::shared_ptr<const Array> array_;
};

GLINT_API Tensor empty(IntArrayRef sizes, const TensorOptions& options = {});
GLINT_API Tensor full(IntArrayRef sizes, double value, const TensorOptions& options = {});
GLINT_API Tensor tensor(std::initializer_list<double> values, const TensorOptions& options = {});
inline Tensor zeros(IntArrayRef sizes, const TensorOptions& options = {}) {
  return full(sizes, 0.0, options);
}
inline Tensor ones(IntArrayRef sizes, const TensorOptions& options = {}) { return full(sizes, 1.0, options); }
inline Tensor empty_like(const Tensor& x) { return empty(x.sizes(), x.options()); }
inline Tensor full_like(const Tensor& x, double value) { return full(x.sizes(), value, x.options()); }
inline Tensor zeros_like(const Tensor& x) { return full_like(x, 0.0); }
inline Tensor ones_like(const Tensor& x) { return full_like(x, 1.0); }

GLINT_API Tensor cat(const std::vector<Tensor>& tensors, int64_t d = 0);
GLINT_API Tensor lerp(const Tensor& start, const Tensor& end, double weight);
GLINT_API Tensor softmax(const Tensor& x, int64_t d);
GLINT_API bool equal(const Tensor& a, const Tensor& b);
inline Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) {
  return a.where(condition, b);
}

/// The operations on planes [N,1,H,W] of frequency-decoupled guidance; `kernel` is [1,1,K,K].
GLINT_API Tensor conv2d(const Tensor& planes, const Tensor& kernel);
GLINT_API Tensor reflection_pad2d(const Tensor& planes, IntArrayRef margins);
GLINT_API Tensor upsample_bilinear2d(const Tensor& planes, IntArrayRef sizes, bool align_corners);

inline Tensor operator+(const Tensor& a, const Tensor& b) { return a.add(b); }
inline Tensor operator-(const Tensor& a, const Tensor& b) { return a.sub(b); }
inline Tensor operator*(const Tensor& a, const Tensor& b) { return a.mul(b); }
inline Tensor operator/(const Tensor& a, const Tensor& b) { return a.div(b); }
inline Tensor operator+(const Tensor& a, double b) { return a.add(b); }
inline Tensor operator-(const Tensor& a, double b) { return a.sub(b); }
inline Tensor operator*(const Tensor& a, double b) { return a.mul(b); }
inline Tensor operator/(const Tensor& a, double b) { return a.div(b); }
inline Tensor operator*(double a, const Tensor& b) { return b.mul(a); }

/// A source of random numbers; copies share its state. Draws what torch's CPU generator draws, bit for bit.
class GLINT_API Generator {
 public:
  Generator() = default;
  explicit Generator(uint64_t seed);
  /// Fills `values` with normals.
  void fill(float* values, int64_t count, double mean, double deviation) const;
  void fill(double* values, int64_t count, double mean, double deviation) const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};
namespace detail {
inline Generator createCPUGenerator(uint64_t seed) { return Generator(seed); }
}  // namespace detail

/// Nothing is recorded for differentiation here, so there is nothing to turn off.
struct NoGradGuard {
  NoGradGuard() {}
  ~NoGradGuard() {}
};

}  // namespace glint::host
