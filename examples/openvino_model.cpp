// Another runtime, glint's sampling: a denoiser that OpenVINO runs, Z-Sampling around it, no libtorch.
//   openvino_model DENOISER.xml PROMPT.f32 LATENTS.f32 [SEED [STEPS]]
// The network is one of a bundle's: a flow model's velocity from latents [B,C,H,W], time [B] (0 to 1), tokens
// [B,L,D] and pooled [B,P]. PROMPT.f32 holds float32 numbers: tokens and pooled embedding of the prompt, then
// those of the null prompt.
#include <glint/core.hpp>

#include <openvino/openvino.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <stdexcept>

namespace {

using glint::Tensor;

/// A network of OpenVINO as a model. All branches go through it in one batch.
class OpenVinoModel final : public glint::Model {
 public:
  explicit OpenVinoModel(const std::string& file) {
    // A CPU may otherwise compute in bfloat16 where it can.
    const ov::AnyMap exact{{ov::hint::inference_precision(ov::element::f32)}};
    network_ = ov::Core().compile_model(file, "CPU", exact);
    if (network_.inputs().size() != 4)
      throw std::invalid_argument(file + ": expected the inputs latents, time, tokens and pooled");
    info_.name = file;
    info_.parameterization = glint::Parameterization::Velocity;
    info_.noise_kind = glint::NoiseKind::Flow;
    info_.latent_shape = sizes_of(0);
  }

  const glint::ModelInfo& info() const override { return info_; }

  /// Sizes of an input without the batch.
  std::vector<int64_t> sizes_of(size_t input) const {
    const ov::PartialShape shape = network_.input(input).get_partial_shape();
    std::vector<int64_t> sizes;
    for (size_t d = 1; d < shape.size(); ++d) sizes.push_back(shape[d].get_length());
    return sizes;
  }

  std::vector<Tensor> predict(const glint::ModelInput& in) const override {
    std::vector<Tensor> latents, tokens, pooled;
    for (const glint::Conditioning* branch : in.branches) {
      latents.push_back(in.x);
      tokens.push_back(rows(branch->tokens, in.x.size(0)));
      pooled.push_back(rows(branch->pooled, in.x.size(0)));
    }
    const Tensor x = glint::at::cat(latents);
    const Tensor time = glint::at::full({x.size(0)}, in.level.sigma);
    const Tensor arguments[] = {x, time, glint::at::cat(tokens), glint::at::cat(pooled)};
    ov::InferRequest request =
        network_.create_infer_request();  // of this call alone: calls may be concurrent
    for (size_t i = 0; i < 4; ++i) request.set_input_tensor(i, borrowed(arguments[i]));
    const Tensor velocity = glint::at::empty(x.sizes());
    request.set_output_tensor(borrowed(velocity));
    request.infer();
    std::vector<Tensor> outputs;
    for (size_t b = 0; b < in.branches.size(); ++b)
      outputs.push_back(velocity.narrow(0, static_cast<int64_t>(b) * in.x.size(0), in.x.size(0)));
    return outputs;
  }

 private:
  /// A conditioning of one row for every sample.
  static Tensor rows(const Tensor& tensor, int64_t count) {
    std::vector<int64_t> sizes = tensor.sizes().vec();
    sizes[0] = count;
    return tensor.expand(sizes);
  }

  /// The tensor's memory, for as long as the tensor lives.
  static ov::Tensor borrowed(const Tensor& tensor) {
    const glint::at::IntArrayRef sizes = tensor.sizes();
    return {ov::element::f32, ov::Shape(sizes.begin(), sizes.end()), tensor.data_ptr<float>()};
  }

  mutable ov::CompiledModel network_;  // a handle; making a request is not const, though it changes nothing
  glint::ModelInfo info_;
};

/// Reads the next tensor [1,sizes] of a file.
Tensor read(std::ifstream& file, std::vector<int64_t> sizes) {
  sizes.insert(sizes.begin(), 1);
  Tensor tensor = glint::at::empty(sizes);
  file.read(reinterpret_cast<char*>(tensor.data_ptr<float>()),
            tensor.numel() * static_cast<int64_t>(sizeof(float)));
  if (!file) throw std::runtime_error("the prompt's file is too short for this network");
  return tensor;
}

void sample(const char* network, const char* prompt_file, const char* output, uint64_t seed, int steps) {
  const auto model = std::make_shared<OpenVinoModel>(network);
  std::ifstream file(prompt_file, std::ios::binary);
  glint::Prompt prompt;
  for (glint::Conditioning* one : {&prompt.cond, &prompt.uncond}) {
    one->tokens = read(file, model->sizes_of(2));
    one->pooled = read(file, model->sizes_of(3));
  }

  const auto solver = std::make_shared<glint::FlowEuler>();
  const glint::Sampler sampler(
      {.predictor = glint::Predictor{.model = model, .rule = std::make_shared<glint::Cfg>(3.0)},
       .schedule = solver->schedule(glint::FlowTraining{}, {.steps = steps}),
       .solver = solver,
       .step_methods = {glint::z_sampling()}});
  const glint::SampleResult result = sampler.sample({.prompt = prompt, .seed = seed});

  std::ofstream(output, std::ios::binary)
      .write(reinterpret_cast<const char*>(result.latents.data_ptr<float>()),
             result.latents.numel() * static_cast<int64_t>(sizeof(float)));
  std::printf("%d steps, %g rows\n", result.steps, result.nfe());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: openvino_model DENOISER.xml PROMPT.f32 LATENTS.f32 [SEED [STEPS]]\n");
    return 2;
  }
  try {
    sample(argv[1], argv[2], argv[3], argc > 4 ? std::strtoull(argv[4], nullptr, 10) : 0,
           argc > 5 ? std::atoi(argv[5]) : 20);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
