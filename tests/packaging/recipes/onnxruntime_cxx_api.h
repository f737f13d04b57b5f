// As much of ONNX Runtime's C++ interface as docs/adding.md uses, so that its backend compiles and runs
// without the engine: a session has one input and one output, and doubles. A file named `broken` does not
// open.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

enum OrtAllocatorType { OrtArenaAllocator };
enum OrtMemType { OrtMemTypeDefault };
enum OrtLoggingLevel { ORT_LOGGING_LEVEL_ERROR };

namespace Ort {

struct MemoryInfo {
  static MemoryInfo CreateCpu(OrtAllocatorType, OrtMemType) { return {}; }
};

struct TensorInfo {
  std::vector<int64_t> shape;
  std::vector<int64_t> GetShape() const { return shape; }
};

struct Value {
  std::vector<int64_t> shape;
  std::vector<float> data;

  template <typename T>
  static Value CreateTensor(const MemoryInfo&, T* data, size_t count, const int64_t* shape, size_t rank) {
    return {{shape, shape + rank}, {data, data + count}};
  }
  TensorInfo GetTensorTypeAndShapeInfo() const { return {shape}; }
  template <typename T>
  const T* GetTensorData() const {
    return data.data();
  }
};

struct Env {
  Env(OrtLoggingLevel, const char*) {}
};
struct SessionOptions {};
struct RunOptions {};
struct AllocatorWithDefaultOptions {};

struct Session {
  Session(Env&, const void*, size_t size, const SessionOptions&) {
    if (size == 0) throw std::runtime_error("not a model");
  }
  size_t GetInputCount() const { return 1; }
  size_t GetOutputCount() const { return 1; }
  std::unique_ptr<char[]> GetInputNameAllocated(size_t, AllocatorWithDefaultOptions&) { return name('x'); }
  std::unique_ptr<char[]> GetOutputNameAllocated(size_t, AllocatorWithDefaultOptions&) { return name('y'); }
  std::vector<Value> Run(const RunOptions&, const char* const*, const Value* inputs, size_t,
                         const char* const*, size_t) {
    Value output = inputs[0];
    for (float& value : output.data) value *= 2.0f;
    return {output};
  }

 private:
  static std::unique_ptr<char[]> name(char letter) { return std::unique_ptr<char[]>(new char[2]{letter, 0}); }
};

}  // namespace Ort
