// Loads TorchScript archives, run by torch's interpreter.
#include "network/archive.hpp"
#include "network/host_state.hpp"
#include "network/packing.hpp"
#include "network/text_part.hpp"

#include <glint/network/attention_rewrite.hpp>

#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/import.h>
#include <torch/csrc/jit/serialization/unpickler.h>

#include <ATen/ops/empty.h>

#include <map>
#include <mutex>
#include <optional>
#include <set>

namespace glint::detail {
namespace {

/// Checks that every tensor of an archive lies within its record. torch itself believes the lengths, sizes,
/// strides and offsets in the pickles, and reads out of bounds where they lie. Its own unpickler reads them
/// here first, without the data and without running anything.
class ArchiveCheck {
 public:
  ArchiveCheck(caffe2::serialize::PyTorchStreamReader& archive, const std::string& file)
      : archive_(archive), file_(file), unit_(std::make_shared<torch::jit::CompilationUnit>()) {}

  void operator()() {
    for (const char* part : {"constants", "data"}) {
      const std::string pickle = std::string(part) + ".pkl";
      if (archive_.hasRecord(pickle)) check_value(read(part, text_record(archive_, pickle)), part, 0);
    }
  }

 private:
  c10::IValue read(const std::string& part, const std::string& pickle) {
    size_t at = 0;
    const auto bytes = [&](char* out, size_t count) {
      const size_t got = std::min(count, pickle.size() - at);
      std::copy_n(pickle.data() + at, got, out);
      at += got;
      return got;
    };
    const auto type = [this](const c10::QualifiedName& name) {
      auto known = unit_->get_class(name);
      if (!known) unit_->register_type(known = c10::ClassType::create(name, unit_, /*is_module=*/true));
      return c10::StrongTypePtr(unit_, known);
    };
    const auto object = [](const c10::StrongTypePtr& of, const c10::IValue& state) {
      auto made = c10::ivalue::Object::create(c10::WeakOrStrongTypePtr(of), 1);
      made->setSlot(0, state);
      return made;
    };
    const auto record = [&](const std::string& key) {
      const std::string name = part + "/" + key;
      const uint64_t size = archive_.getRecordSize(name);
      auto* stand_in = new char;  // one byte for the data, which nothing here looks at
      records_[stand_in] = {name, size};
      return at::DataPtr(
          stand_in, stand_in, [](void* p) { delete static_cast<char*>(p); }, at::kCPU);
    };
    torch::jit::Unpickler unpickler(bytes, type, object, record, at::Device(at::kCPU));
    c10::IValue value = unpickler.parse_ivalue();
    keep_.push_back(value);  // so that no two records share a stand-in's address
    return value;
  }

  void check_value(const c10::IValue& value, const std::string& path, int depth) {
    constexpr int kDeepest = 200;
    GLINT_CHECK(depth < kDeepest, BadModel, "{}: nested deeper than {} levels", file_, kDeepest);
    if (value.isTensor()) return check_tensor(value.toTensor(), path);
    const bool holds = value.isObject() || value.isTuple() || value.isGenericDict() || value.isList();
    if (!holds || !seen_.insert(value.internalToPointer()).second) return;
    if (value.isObject()) {
      for (const c10::IValue& slot : value.toObjectRef().slots()) check_value(slot, path, depth + 1);
    } else if (value.isTuple()) {
      size_t i = 0;
      for (const c10::IValue& one : value.toTupleRef().elements())
        check_value(one, fmt::format("{}[{}]", path, i++), depth + 1);
    } else if (value.isGenericDict()) {
      for (const auto& entry : value.toGenericDict())
        check_value(entry.value(),
                    path + "." + (entry.key().isString() ? entry.key().toStringRef() : std::string("?")),
                    depth + 1);
    } else {
      size_t i = 0;
      for (const c10::IValue& one : value.toListRef())
        check_value(one, fmt::format("{}[{}]", path, i++), depth + 1);
    }
  }

  void check_tensor(const at::Tensor& tensor, const std::string& path) const {
    const std::string where = file_ + ": tensor '" + path + "'";
    if (!tensor.defined()) return;
    const at::ScalarType dtype = tensor.scalar_type();
    const bool plain =
        at::isFloatingType(dtype) || at::isIntegralType(dtype, true) || at::isComplexType(dtype);
    GLINT_CHECK(plain && tensor.layout() == at::kStrided && !tensor.is_quantized(), BadModel,
                "{}: expected a dense tensor of numbers, got {}", where, tensor.toString());
    const at::Storage& storage = tensor.storage();
    const auto record = records_.find(storage.data_ptr().get());
    const uint64_t there = record == records_.end() ? 0 : record->second.size;
    GLINT_CHECK(storage.nbytes() <= there, BadModel, "{}: its storage has {} bytes, its record {} only {}",
                where, storage.nbytes(),
                record == records_.end() ? std::string("(none)") : record->second.name, there);
    check_extent(where,
                 {.sizes = tensor.sizes().vec(),
                  .strides = tensor.strides().vec(),
                  .offset = tensor.storage_offset(),
                  .element_size = static_cast<uint64_t>(tensor.element_size())},
                 storage.nbytes());
  }

  struct Record {
    std::string name;
    uint64_t size;
  };

  caffe2::serialize::PyTorchStreamReader& archive_;
  const std::string& file_;
  std::shared_ptr<torch::jit::CompilationUnit> unit_;
  std::map<const void*, Record> records_;
  std::set<const void*> seen_;
  std::vector<c10::IValue> keep_;
};

/// Converts weights to `dtype`. Module::to would also convert integer buffers (position ids, token tables).
void convert_weights(const torch::jit::Module& module, at::ScalarType dtype) {
  const auto convert = [dtype](const at::Tensor& tensor) {
    if (tensor.is_floating_point() && tensor.scalar_type() != dtype) tensor.set_data(tensor.to(dtype));
  };
  for (const auto& parameter : module.parameters()) convert(parameter);
  for (const auto& buffer : module.buffers()) convert(buffer);
}

/// Adds what a module holds, as attributes or as constants.
void add_module(const torch::jit::Module& module, WeightBytes& sum) {
  for (const auto& parameter : module.parameters()) sum.add(parameter);
  for (const auto& buffer : module.buffers()) sum.add(buffer);
  add_constants(module, sum);
}

/// Turns the parameters that `forward` reads into inputs after its own, and returns their names in that
/// order.
class Lifter {
 public:
  explicit Lifter(const torch::jit::Module& module)
      : function_(torch::jit::toGraphFunction(module.get_method("forward").function())),
        graph_(function_.graph()) {
    for (const auto& parameter : module.named_parameters()) known_.insert(parameter.name);
  }

  std::vector<std::string> lift() {
    const c10::FunctionSchema schema = function_.getSchema();
    torch::jit::Inline(*graph_);
    lift(*graph_->block());
    std::vector<c10::Argument> arguments = schema.arguments();
    for (size_t i = 0; i < names_.size(); ++i)
      arguments.emplace_back(fmt::format("weight_{}", i), c10::TensorType::get());
    function_.setSchema(schema.cloneWithArguments(std::move(arguments)));
    return names_;
  }

 private:
  /// Returns a value's attribute path from the module, "" for the module itself.
  std::optional<std::string> path(const torch::jit::Value* value) const {
    if (value == graph_->inputs().front()) return "";
    const torch::jit::Node* node = value->node();
    if (node->kind() != c10::prim::GetAttr) return std::nullopt;
    const auto owner = path(node->input());
    if (!owner) return std::nullopt;
    return owner->empty() ? node->s(c10::attr::name) : *owner + "." + node->s(c10::attr::name);
  }

  void lift(torch::jit::Block& block) {
    for (auto it = block.nodes().begin(); it != block.nodes().end();) {
      torch::jit::Node* node = *it++;  // advance first: the node may be removed
      for (torch::jit::Block* inner : node->blocks()) lift(*inner);
      GLINT_CHECK(node->kind() != c10::prim::CallMethod, InvalidArgument,
                  "weights: cannot be exchanged in a network with module interfaces");
      if (node->kind() != c10::prim::GetAttr) continue;
      const auto name = path(node->output());
      if (!name || !known_.contains(*name)) continue;
      torch::jit::Value*& input = inputs_[*name];
      if (!input) {
        input = graph_->addInput();
        input->setType(c10::TensorType::get());
        names_.push_back(*name);
      }
      node->output()->replaceAllUsesWith(input);
      node->destroy();
    }
  }

  torch::jit::GraphFunction& function_;
  std::shared_ptr<torch::jit::Graph> graph_;
  std::set<std::string> known_;
  std::map<std::string, torch::jit::Value*> inputs_;
  std::vector<std::string> names_;
};

/// A network as stored, without the weights that the network in use holds packed. Versions that need plain
/// weights are derived on first use and put them back.
class Archive {
 public:
  Archive(torch::jit::Module module, const ParsedLoadOptions& options)
      : module_(std::move(module)), options_(options) {
    for (const auto& parameter : module_.named_parameters())
      if (parameter.value.is_floating_point()) weights_.emplace(parameter.name, parameter.value);
  }

  /// Frees the parameters that `layers` hold.
  void release(const PackedLayers& layers) {
    for (const auto& layer : layers)
      for (const auto& [name, parameter] : weights_) {
        if (!layer->replaces(parameter)) continue;
        parameter.set_data(at::empty({0}, parameter.options()));
        released_.emplace_back(parameter, layer);
      }
  }

  const Weights& weights() {
    const std::lock_guard lock(mutex_);
    restore();
    return weights_;
  }
  bool has_weights() const { return !weights_.empty(); }

  void add_bytes(WeightBytes& sum) {
    const std::lock_guard lock(mutex_);
    add_module(module_, sum);
    if (lifted_) add_module(lifted_->module, sum);
  }

  /// A network that takes the weights called `names` after its own inputs.
  struct Lifted {
    torch::jit::Module module;
    std::vector<std::string> names;
  };
  const Lifted& lifted() {
    const std::lock_guard lock(mutex_);
    if (lifted_) return *lifted_;
    restore();
    torch::jit::Module changed = module_.clone(/*inplace=*/true);  // shares the weights
    auto names = Lifter(changed).lift();
    torch::jit::Module frozen = torch::jit::freeze(changed);
    if (options_.attention) rewrite_attention(frozen);
    lifted_.emplace(Lifted{std::move(frozen), std::move(names)});
    return *lifted_;
  }

 private:
  void restore() {
    for (const auto& [parameter, layer] : released_) parameter.set_data(layer->weight());
    released_.clear();
  }

  torch::jit::Module module_;
  ParsedLoadOptions options_;
  Weights weights_;
  std::mutex mutex_;
  std::vector<std::pair<at::Tensor, std::shared_ptr<PackedLayer>>> released_;
  std::optional<Lifted> lifted_;
};

/// A network as it runs: packed, and plain where gradients are recorded.
class Executable {
 public:
  explicit Executable(torch::jit::Module module) : module_(std::move(module)) {}

  const PackedLayers& pack() { return layers_ = pack_layers(module_); }

  // Module::forward is not const, although it changes nothing: callers copy the handle.
  torch::jit::Module module(bool differentiable) {
    if (layers_.empty() || !differentiable) return module_;
    const std::lock_guard lock(mutex_);
    if (!plain_) {
      plain_ = module_.clone(/*inplace=*/true);
      unpack_layers(*plain_, layers_);
    }
    return *plain_;
  }
  const PackedLayers& layers() const { return layers_; }

  bool text_apart(size_t tokens, size_t inputs) const { return has_text_part(module_, tokens, inputs); }

  void add_bytes(WeightBytes& sum) {
    const std::lock_guard lock(mutex_);
    add_module(module_, sum);
    if (plain_) add_module(*plain_, sum);
    for (const auto& layer : layers_) layer->add_bytes(sum);
  }

  /// What makes the keys and values of the text, and their layers.
  struct TextPart {
    torch::jit::Module module;
    std::vector<int64_t> layers;
  };
  const TextPart& text(size_t tokens, size_t inputs) {
    const std::lock_guard lock(mutex_);
    const auto [found, added] = text_.try_emplace(tokens);
    TextPart& part = found->second;
    if (added) {
      part.module = module_.clone(/*inplace=*/true);
      part.layers = keep_text_part(part.module, tokens, inputs);
    }
    return part;
  }

 private:
  torch::jit::Module module_;
  PackedLayers layers_;
  std::mutex mutex_;
  std::optional<torch::jit::Module> plain_;
  std::map<size_t, TextPart> text_;  // by the input that has the tokens
};

class TorchScriptNetwork final : public Network {
 public:
  TorchScriptNetwork(const torch::jit::Module& module, std::string file, const ParsedLoadOptions& options)
      : file_(std::move(file)),
        gradients_(options.gradients),
        archive_(std::make_shared<Archive>(module, options)) {
    torch::jit::Module frozen = torch::jit::freeze(module);
    if (options.attention) attention_layers_ = rewrite_attention(frozen);
    executable_ = std::make_shared<Executable>(std::move(frozen));
    if (!options.pack || options.gradients) return;
    archive_->release(executable_->pack());
    if (!archive_->has_weights()) archive_ = nullptr;  // its constants are the plain weights
  }

  int64_t attention_layers() const override { return attention_layers_; }

  bool text_apart(size_t tokens, size_t inputs) const override {
    return executable_->text_apart(tokens, inputs);
  }

  std::vector<LayerKeys> text_keys(std::vector<at::Tensor> inputs, size_t tokens) const override {
    return torch_boundary(ErrorCode::Internal, file_, [&] {
      const torch::jit::GraphOptimizerEnabledGuard unoptimized(false);
      const Executable::TextPart& part = executable_->text(tokens, inputs.size());
      GLINT_CHECK(!part.layers.empty(), Internal, "{}: no attention layer reads the text alone", file_);
      const WithoutAutograd guard;
      const PackedScope scope(executable_->layers());
      auto tensors = forward(part.module, std::move(inputs));
      std::vector<LayerKeys> keys;
      for (size_t i = 0; i < part.layers.size(); ++i)
        keys.push_back({part.layers[i], std::move(tensors[2 * i]), std::move(tensors[2 * i + 1])});
      return keys;
    });
  }

  const Weights& weights() const override { return archive_ ? archive_->weights() : Network::weights(); }

  std::shared_ptr<const Network> with_weights(const Weights& changed) const override {
    if (changed.empty() && !archive_) return std::make_shared<TorchScriptNetwork>(*this);
    for (const auto& [name, value] : changed) {
      const auto own = weights().find(name);
      GLINT_CHECK(own != weights().end(), InvalidArgument, "{}: has no weight '{}'", file_, name);
      GLINT_CHECK(value.defined() && value.sizes() == own->second.sizes(), ShapeMismatch,
                  "{}: {}: expected {}, got {}", file_, name, shape_string(own->second.sizes()),
                  value.defined() ? shape_string(value.sizes()) : "an undefined tensor");
      GLINT_CHECK(value.options().type_equal(own->second.options()), UnsupportedDtype,
                  "{}: {}: expected {}, got {}", file_, name, own->second.toString(), value.toString());
    }
    return torch_boundary(ErrorCode::Internal, file_, [&] {
      auto result = std::make_shared<TorchScriptNetwork>(*this);
      const Archive::Lifted& lifted = archive_->lifted();
      result->executable_ = std::make_shared<Executable>(lifted.module);
      result->archive_ = nullptr;
      for (const std::string& name : lifted.names) {
        const auto own = changed.find(name);
        result->weights_.push_back(own == changed.end() ? weights().at(name) : own->second);
      }
      return result;
    });
  }

  void add_bytes(WeightBytes& sum) const override {
    executable_->add_bytes(sum);
    if (archive_) archive_->add_bytes(sum);
    for (const at::Tensor& weight : weights_) sum.add(weight);
  }

  std::vector<at::Tensor> run(std::vector<at::Tensor> inputs) const override {
    return torch_boundary(ErrorCode::Internal, file_, [&] {
      // No run-time optimisation. The profiling executor records shapes in the first call and recompiles for
      // them in the second: 0.24 s and 0.17 s instead of 0.05 s for a 5 M parameter transformer on a CPU,
      // with later calls no faster than the frozen graph's. Other batch sizes (guidance off, a smaller last
      // batch) may stall again. This switch is per thread and so leaves a host's own TorchScript alone
      // (getProfilingMode and getExecutorMode are per process).
      const torch::jit::GraphOptimizerEnabledGuard unoptimized(false);
      if (gradients_ || wants_gradient(inputs)) return forward(executable_->module(true), std::move(inputs));
      const WithoutAutograd guard;
      const PackedScope scope(executable_->layers());
      auto outputs = forward(executable_->module(false), std::move(inputs));
      for (at::Tensor& output : outputs) output = output.contiguous();  // packed layers give channels-last
      return outputs;
    });
  }

 private:
  /// Whether the caller records gradients, as a strategy that optimizes latents does.
  static bool wants_gradient(const std::vector<at::Tensor>& inputs) {
    return c10::GradMode::is_enabled() &&
           std::any_of(inputs.begin(), inputs.end(), [](const at::Tensor& t) { return t.requires_grad(); });
  }

  std::vector<at::Tensor> forward(torch::jit::Module module, std::vector<at::Tensor> inputs) const {
    std::vector<c10::IValue> stack(std::make_move_iterator(inputs.begin()),
                                   std::make_move_iterator(inputs.end()));
    stack.insert(stack.end(), weights_.begin(), weights_.end());
    const auto result = module.forward(std::move(stack));
    if (result.isTensor()) return {result.toTensor()};
    if (result.isTensorList()) return result.toTensorVector();
    std::vector<at::Tensor> outputs;
    GLINT_CHECK(result.isTuple(), BadModel, "{}: returns {}, expected a tensor or a tuple of tensors", file_,
                result.tagKind());
    for (const auto& element : result.toTupleRef().elements()) {
      GLINT_CHECK(element.isTensor(), BadModel, "{}: returns a tuple with {}, expected tensors", file_,
                  element.tagKind());
      outputs.push_back(element.toTensor());
    }
    return outputs;
  }

  std::shared_ptr<Executable> executable_;
  std::string file_;
  bool gradients_;
  int64_t attention_layers_ = 0;
  std::shared_ptr<Archive> archive_;  // null once weights have been replaced
  std::vector<at::Tensor> weights_;   // weights passed to the network as inputs
};

}  // namespace

std::shared_ptr<const Network> load_torchscript(const ModelFile& source, const ParsedLoadOptions& options) {
  const std::string& file = source->name();
  return torch_boundary(ErrorCode::BadModel, file + ": cannot be loaded as a TorchScript module", [&] {
    auto module = with_archive(source, [&](const auto& reader) {
      caffe2::serialize::PyTorchStreamReader archive(reader);
      ArchiveCheck(archive, file)();
      // Load to the CPU first: weights stored on a GPU would otherwise require one here.
      return torch::jit::load(reader, at::Device(at::kCPU));
    });
    GLINT_CHECK(module.find_method("forward"), BadModel, "{}: has no forward method", file);
    module.eval();
    if (options.dtype) convert_weights(module, *options.dtype);
    module.to(options.device);
    for (const auto& parameter : module.parameters()) parameter.set_requires_grad(false);
    // Freezing makes weights constants of one inlined graph: no attribute look-ups or Python-style calls,
    // batch norms folded into convolutions, and every attention a node of one graph.
    return std::make_shared<const TorchScriptNetwork>(module, file, options);
  });
}

}  // namespace glint::detail
