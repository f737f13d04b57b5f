// Loads networks of built-in architecture; the file holds their weights and, in its metadata, their settings.
#include "io/safetensors_content.hpp"
#include "network/host_state.hpp"
#include "network/loaders.hpp"
#include "network/released/core2_network.hpp"
#include "network/released/npnet.hpp"

#include <ATen/core/grad_mode.h>

namespace glint::detail {
namespace {

/// Adapts a network from network/released: no autograd, torch's errors translated.
class SafetensorsNetwork final : public Network {
 public:
  SafetensorsNetwork(std::shared_ptr<const Network> network, std::string file, int64_t bytes)
      : network_(std::move(network)), file_(std::move(file)), bytes_(bytes) {}

  std::vector<std::string> inputs() const override { return network_->inputs(); }

  std::vector<at::Tensor> run(std::vector<at::Tensor> inputs) const override {
    return torch_boundary(ErrorCode::Internal, file_, [&] {
      const WithoutAutograd guard;
      return network_->run(std::move(inputs));
    });
  }

  void check_latents(const std::vector<int64_t>& shape) const override { network_->check_latents(shape); }

  std::shared_ptr<const Network> with(std::string_view setting, std::string_view value) const override {
    return std::make_shared<const SafetensorsNetwork>(network_->with(setting, value), file_, bytes_);
  }

  void add_bytes(WeightBytes& sum) const override { sum.add(network_.get(), bytes_); }

 private:
  std::shared_ptr<const Network> network_;
  std::string file_;
  int64_t bytes_;
};

}  // namespace

std::shared_ptr<const Network> load_safetensors(const ModelFile& source, const ParsedLoadOptions& options) {
  const std::string& file = source->name();
  return torch_boundary(ErrorCode::BadModel, file, [&]() -> std::shared_ptr<const Network> {
    Metadata settings;
    TensorMap tensors = parse_safetensors(std::make_shared<const FileBytes>(*source), file, &settings);
    const auto named = settings.extract("architecture");
    const std::string architecture = named ? named.mapped() : "";
    GLINT_CHECK(architecture == "npnet" || architecture == "core2", BadModel,
                "{}: metadata: expected architecture npnet or core2, got '{}'", file, architecture);
    const bool npnet = architecture == "npnet";
    at::ScalarType dtype = options.dtype.value_or(at::kFloat);
    // NPNet's singular vectors need the precision, and it runs only once.
    if (npnet && dtype != at::kDouble) dtype = at::kFloat;
    int64_t bytes = 0;
    for (const auto& [name, tensor] : tensors)
      bytes += tensor.numel() *
               static_cast<int64_t>(tensor.is_floating_point() ? at::elementSize(dtype) : tensor.itemsize());
    released::NetworkFile weights(std::move(tensors), std::move(settings), file, options.device, dtype);
    std::shared_ptr<const Network> network;
    if (npnet)
      network = std::make_shared<const released::Npnet>(std::move(weights));
    else
      network = std::make_shared<const released::Core2Network>(std::move(weights));
    return std::make_shared<const SafetensorsNetwork>(std::move(network), file, bytes);
  });
}

}  // namespace glint::detail
