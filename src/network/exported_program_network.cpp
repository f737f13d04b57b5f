// Loads torch.export programs (.pt2), run by nativert, torch's interpreter for them in libtorch_cpu.
#include "io/json.hpp"
#include "network/archive.hpp"
#include "network/host_state.hpp"

#include <glint/network/attention_rewrite.hpp>

#include <c10/util/Logging.h>
#include <fmt/format.h>

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

/// Returns the bytes of an element of a dtype by its number in the schema of exported programs; 0 for one
/// that no weight has.
uint64_t element_size(int64_t dtype) {
  switch (dtype) {
    case 1:
    case 2:
    case 12: return 1;  // uint8, int8, bool
    case 3:
    case 6:
    case 13: return 2;  // int16, float16, bfloat16
    case 4:
    case 7: return 4;  // int32, float32
    case 5:
    case 8:
    case 10: return 8;  // int64, float64, complex64
    default: return 0;
  }
}

/// Reads numbers given as {"as_int": n}.
std::vector<int64_t> numbers(const nlohmann::json& list, const std::string& where) {
  GLINT_CHECK(list.is_array(), BadModel, "{}: expected an array, got {}", where, describe(list));
  std::vector<int64_t> result;
  for (const auto& number : list) {
    const auto value = number.is_object() ? number.find("as_int") : number.end();
    GLINT_CHECK(value != number.end() && value->is_number_integer(), BadModel,
                "{}: expected integers, got {}", where, describe(number));
    result.push_back(value->get<int64_t>());
  }
  return result;
}

/// Checks that the tensors a folder of the archive lists lie within their records: the runner believes the
/// list.
void check_tensors(caffe2::serialize::PyTorchStreamReader& archive, const std::string& folder,
                   const std::string& list, const std::string& file) {
  if (!archive.hasRecord(folder + list)) return;
  const std::string where = file + "/" + folder + list;
  const nlohmann::json document = parse_json(text_record(archive, folder + list), where);
  const auto config = document.is_object() ? document.find("config") : document.end();
  GLINT_CHECK(config != document.end() && config->is_object(), BadModel, "{}: expected an object 'config'",
              where);
  for (const auto& [name, entry] : config->items()) {
    const std::string place = file + ": tensor '" + name + "'";
    GLINT_CHECK(entry.is_object() && entry.contains("path_name") && entry["path_name"].is_string(), BadModel,
                "{}: expected an object with a path_name", place);
    if (!entry.contains("tensor_meta") || entry["tensor_meta"].is_null()) continue;  // no tensor
    GLINT_CHECK(!entry.contains("use_pickle") || entry["use_pickle"] == false, BadModel,
                "{}: pickled tensors are not supported", place);
    const nlohmann::json& meta = entry["tensor_meta"];
    for (const char* field : {"dtype", "sizes", "strides", "storage_offset"})
      GLINT_CHECK(meta.is_object() && meta.contains(field), BadModel, "{}: missing field '{}'", place, field);
    const uint64_t bytes = meta["dtype"].is_number_integer() ? element_size(meta["dtype"].get<int64_t>()) : 0;
    GLINT_CHECK(bytes > 0, BadModel, "{}: no weight has the dtype {}", place, meta["dtype"].dump());
    const std::string record = folder + entry["path_name"].get<std::string>();
    GLINT_CHECK(archive.hasRecord(record), BadModel, "{}: there is no record '{}'", place, record);
    check_extent(place,
                 {.sizes = numbers(meta["sizes"], place),
                  .strides = numbers(meta["strides"], place),
                  .offset = numbers(nlohmann::json::array({meta["storage_offset"]}), place).front(),
                  .element_size = bytes},
                 archive.getRecordSize(record));
  }
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
  ExportedProgramNetwork(std::string file, const std::string& path, int64_t bytes, int64_t attention_layers)
      : file_(std::move(file)), bytes_(bytes), attention_layers_(attention_layers), runner_(path, "model") {}

  int64_t attention_layers() const override { return attention_layers_; }
  void add_bytes(WeightBytes& sum) const override { sum.add(this, bytes_); }

  std::vector<at::Tensor> run(std::vector<at::Tensor> inputs) const override {
    return torch_boundary(ErrorCode::Internal, file_, [&] {
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
  int64_t bytes_;
  int64_t attention_layers_;
  // Mutable, yet logically const: every call takes its own execution frame from the runner's pool.
  mutable torch::nativert::ModelRunnerHandle runner_;
};

}  // namespace

std::shared_ptr<const Network> load_exported_program(const ModelFile& source,
                                                     const ParsedLoadOptions& options) {
  const std::string& file = source->name();
  GLINT_CHECK(options.device.is_cpu(), UnsupportedDevice,
              "{}: exported programs run on the device they were exported for, which is the CPU here", file);
  return torch_boundary(ErrorCode::BadModel, file + ": cannot be loaded as an exported program", [&] {
    const Quiet quiet;
    const UnnamedFile copy;
    const int64_t layers = with_archive(source, [&](const auto& reader) {
      caffe2::serialize::PyTorchStreamReader archive(reader);
      check_tensors(archive, "data/weights/", "model_weights_config.json", file);
      check_tensors(archive, "data/constants/", "model_constants_config.json", file);
      if (!options.attention) return int64_t{0};
      const std::string record = "models/model.json";
      const auto program = rewrite_attention(text_record(archive, record), file + "/" + record);
      if (program.layers > 0) write_with_program(archive, record, program.json, copy);
      return program.layers;
    });
    if (layers == 0) copy.append(*source);
    return std::make_shared<const ExportedProgramNetwork>(file, copy.path(),
                                                          static_cast<int64_t>(source->size()), layers);
  });
}

}  // namespace glint::detail
