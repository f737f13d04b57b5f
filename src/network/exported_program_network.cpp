// Loads torch.export programs (.pt2), run by nativert, torch's interpreter for them in libtorch_cpu.
#include "network/loaders.hpp"
#include "network/torch_errors.hpp"

#include <glint/network/attention_rewrite.hpp>

#include <c10/util/Logging.h>
#include <fmt/format.h>
#include <caffe2/serialize/inline_container.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <mutex>

#if __has_include(<torch/nativert/ModelRunnerHandle.h>)
#include <torch/nativert/ModelRunnerHandle.h>
#else
#include <torch/csrc/api/include/torch/nativert/ModelRunnerHandle.h>
#endif

namespace glint::detail {
namespace {

/// Silences torch while alive: loading warns about every operator without a static kernel, which no user
/// needs to know. The log level is per process, hence the lock and the short lifetime.
class Quiet {
 public:
  Quiet() : lock_(mutex()), before_(FLAGS_caffe2_log_level) {
    FLAGS_caffe2_log_level = std::max(before_, static_cast<int>(c10::GLOG_ERROR));
  }
  ~Quiet() { FLAGS_caffe2_log_level = before_; }
  Quiet(const Quiet&) = delete;
  Quiet& operator=(const Quiet&) = delete;

 private:
  static std::mutex& mutex() {
    static std::mutex one;
    return one;
  }
  std::lock_guard<std::mutex> lock_;
  int before_;
};

/// Returns an ordinary tensor sharing the memory of `output`: the engine runs in inference mode, whose
/// tensors must not be modified in place outside it.
at::Tensor ordinary(const at::Tensor& output) {
  if (!output.is_inference()) return output;
  auto tensor = at::empty({0}, output.options());
  tensor.set_(output.storage(), output.storage_offset(), output.sizes(), output.strides());
  return tensor;
}

/// An unnamed file, which disappears with this object or the process.
class UnnamedFile {
 public:
  UnnamedFile() {
    std::string name = (std::filesystem::temp_directory_path() / "glint-XXXXXX").string();
    descriptor_ = ::mkstemp(name.data());
    GLINT_CHECK(descriptor_ >= 0, Internal, "{}: cannot be made: {}", name, std::strerror(errno));
    ::unlink(name.c_str());
  }
  ~UnnamedFile() { ::close(descriptor_); }
  UnnamedFile(const UnnamedFile&) = delete;
  UnnamedFile& operator=(const UnnamedFile&) = delete;

  /// Returns a path that opens the file while this object lives.
  std::string path() const { return fmt::format("/proc/self/fd/{}", descriptor_); }

  size_t append(const void* data, size_t size) const {
    for (size_t done = 0; done < size;) {
      const ssize_t written = ::write(descriptor_, static_cast<const char*>(data) + done, size - done);
      if (written < 0 && errno == EINTR) continue;
      GLINT_CHECK(written >= 0, Internal,
                  "temporary copy of an exported program: {} (TMPDIR says where it goes)",
                  std::strerror(errno));
      done += static_cast<size_t>(written);
    }
    return size;
  }

 private:
  int descriptor_ = -1;
};

std::string text_record(caffe2::serialize::PyTorchStreamReader& archive, const std::string& name) {
  const auto [data, size] = archive.getRecord(name);
  return {static_cast<const char*>(data.get()), size};
}

/// Rewrites the archive with another graph. Copies the weights too, since the runner opens only paths.
void write_with_program(caffe2::serialize::PyTorchStreamReader& archive, const std::string& record,
                        const std::string& program, const UnnamedFile& file) {
  caffe2::serialize::PyTorchStreamWriter writer(
      [&file](const void* data, size_t size) { return file.append(data, size); });
  for (const std::string& name : archive.getAllRecords()) {
    if (name == record || name == ".data/version" || name == caffe2::serialize::kSerializationIdRecordName)
      continue;  // replaced, or added by the writer itself
    const auto [data, size] = archive.getRecord(name);
    writer.writeRecord(name, data.get(), size);
  }
  writer.writeRecord(record, program.data(), program.size());
  writer.writeEndOfFile();
}

class ExportedProgramNetwork final : public Network {
 public:
  /// Loads `path`; messages call it `file`.
  ExportedProgramNetwork(std::string file, const std::string& path, int64_t attention_layers)
      : file_(std::move(file)), attention_layers_(attention_layers), runner_(path, "model") {}

  int64_t attention_layers() const override { return attention_layers_; }

  std::vector<at::Tensor> run(std::vector<at::Tensor> inputs) const override {
    return translated(ErrorCode::Internal, file_, [&] {
      const WithoutAutograd guard;
      std::vector<c10::IValue> stack(std::make_move_iterator(inputs.begin()),
                                     std::make_move_iterator(inputs.end()));
      std::vector<at::Tensor> outputs;
      for (const auto& output : runner_.runWithFlatInputsAndOutputs(std::move(stack))) {
        GLINT_CHECK(output.isTensor(), BadModel, "{}: returns {}, expected tensors", file_, output.tagKind());
        outputs.push_back(ordinary(output.toTensor()));
      }
      return outputs;
    });
  }

 private:
  std::string file_;
  int64_t attention_layers_;
  // Mutable, yet logically const: every call takes its own execution frame from the runner's pool.
  mutable torch::nativert::ModelRunnerHandle runner_;
};

}  // namespace

std::shared_ptr<const Network> load_exported_program(const std::filesystem::path& path,
                                                     const ParsedLoadOptions& options) {
  const std::string file = path.string();
  GLINT_CHECK(options.device.is_cpu(), UnsupportedDevice,
              "{}: exported programs run on the device they were exported for, which is the CPU here", file);
  return translated(ErrorCode::BadModel, file + ": cannot be loaded as an exported program", [&] {
    const Quiet quiet;
    if (options.attention) {
      const std::string record = "models/model.json";
      caffe2::serialize::PyTorchStreamReader archive(file);
      const auto program = rewrite_attention(text_record(archive, record), file + "/" + record);
      if (program.layers > 0) {
        const UnnamedFile copy;
        write_with_program(archive, record, program.json, copy);
        return std::make_shared<const ExportedProgramNetwork>(file, copy.path(), program.layers);
      }
    }
    return std::make_shared<const ExportedProgramNetwork>(file, file, 0);
  });
}

}  // namespace glint::detail
