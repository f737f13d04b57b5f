#include "vae/network.hpp"

#include "network/host_state.hpp"
#include "network/loaders.hpp"

#include <glint/core/error.hpp>

namespace glint::detail {
namespace {

void check_tensor(const char* name, const at::Tensor& tensor, int64_t rank, int64_t channels) {
  GLINT_CHECK(tensor.defined() && tensor.dim() == rank && tensor.size(1) == channels && tensor.numel() > 0,
              ShapeMismatch, "{}: expected [B,{},{}H,W], got {}", name, channels, rank == 5 ? "F," : "",
              tensor.defined() ? shape_string(tensor.sizes()) : "an undefined tensor");
  GLINT_CHECK(tensor.is_floating_point(), UnsupportedDtype, "{}: expected floating point, got {}", name,
              at::toString(tensor.scalar_type()));
}

at::Tensor to_network(const at::Tensor& tensor, const VaeOptions& options) {
  return tensor.to(parse_device(options.device), parse_dtype(options.dtype));
}

/// Runs the network. Out-of-memory messages say how to use less.
std::vector<at::Tensor> run(const std::string& what, const Network& network, std::vector<at::Tensor> inputs) {
  const std::string shape = shape_string(inputs.front().sizes());
  try {
    return torch_boundary(ErrorCode::Internal, what, [&] { return network.run(std::move(inputs)); });
  } catch (const Error& error) {
    if (error.code() != ErrorCode::OutOfMemory) throw;
    fail(ErrorCode::OutOfMemory, "{}: not enough memory for {}; smaller tiles (vae_tile) need less: {}", what,
         shape, error.what());
  }
}

void check_output(const std::string& what, const at::Tensor& output, const std::vector<int64_t>& expected) {
  GLINT_CHECK(output.defined() && output.is_floating_point(), BadModel, "{}: expected floating point, got {}",
              what, output.defined() ? at::toString(output.scalar_type()) : "an undefined tensor");
  GLINT_CHECK(output.sizes() == at::IntArrayRef(expected), BadModel, "{}: expected {}, got {}", what,
              shape_string(expected), shape_string(output.sizes()));
}

/// Returns the shape of one frame of [B,C,F,H,W].
std::vector<int64_t> frame_shape(const at::Tensor& frames) {
  return {frames.size(0), frames.size(1), frames.size(3), frames.size(4)};
}

}  // namespace

void check_vae(const std::string& what, bool networks, const VaeOptions& options) {
  GLINT_CHECK(networks, InvalidArgument, "{}: expected a network", what);
  const auto positive = [](const char* name, int64_t value) {
    GLINT_CHECK(value > 0, InvalidArgument, "{}: expected a positive number, got {}", name, value);
  };
  positive("channels", options.channels);
  positive("spatial_scale", options.spatial_scale);
  positive("frame_scale", options.frame_scale);
  GLINT_CHECK(options.scaling_factor != 0.0, InvalidArgument,
              "scaling_factor: expected a number other than 0");
  parse_dtype(options.dtype);
  parse_device(options.device);
}

void check_call(const VaeCall& call, const VaeOptions& options) {
  const int64_t unit = 4 * options.spatial_scale;
  GLINT_CHECK(call.tile >= 0 && call.tile % unit == 0, InvalidArgument,
              "tile: expected a positive multiple of {} px, or 0 for one piece, got {}", unit, call.tile);
}

void check_latents(const at::Tensor& latents, int64_t rank, const VaeOptions& options) {
  check_tensor("latents", latents, rank, options.channels);
}

void check_pixels(const at::Tensor& pixels, int64_t rank, const VaeOptions& options) {
  check_tensor("pixels", pixels, rank, 3);
  const int64_t scale = options.spatial_scale;
  GLINT_CHECK(pixels.size(-1) % scale == 0 && pixels.size(-2) % scale == 0, ShapeMismatch,
              "pixels: expected a height and width that are multiples of {}, got {}", scale,
              shape_string(pixels.sizes()));
}

at::Tensor unscaled(const at::Tensor& latents, const VaeOptions& options) {
  return latents.div(options.scaling_factor).add(options.shift_factor);
}

at::Tensor scaled(const at::Tensor& latents, const VaeOptions& options) {
  return latents.sub(options.shift_factor).mul(options.scaling_factor);
}

void ask(const VaeCall& call, int64_t done, int64_t total) {
  if (!call.proceed) return;
  if (!at_boundary(ErrorCode::Internal, "proceed", [&] { return call.proceed(done, total); }))
    fail(ErrorCode::Cancelled, "cancelled before call {} of {} of the autoencoder", done + 1, total);
}

at::Tensor run_network(const std::string& what, const Network& network, const at::Tensor& input,
                       const std::vector<int64_t>& expected, const VaeOptions& options) {
  const auto outputs = run(what, network, {to_network(input, options)});
  GLINT_CHECK(outputs.size() == 1, BadModel, "{}: expected one tensor, got {}", what, outputs.size());
  check_output(what, outputs[0], expected);
  return outputs[0].to(at::kCPU, at::kFloat);
}

at::Tensor run_network(const std::string& what, const Network& network, const at::Tensor& input,
                       const std::vector<int64_t>& expected, const VaeOptions& options, VideoState& state) {
  std::vector<at::Tensor> inputs{to_network(input, options)};
  inputs.insert(inputs.end(), state.tensors.begin(), state.tensors.end());
  auto outputs = run(what, network, std::move(inputs));
  GLINT_CHECK(outputs.size() >= 2 && (state.empty() || outputs.size() == 1 + state.tensors.size()), BadModel,
              "{}: expected {} states beside its output, got {}", what,
              state.empty() ? "some" : std::to_string(state.tensors.size()),
              static_cast<int64_t>(outputs.size()) - 1);
  check_output(what, outputs[0], expected);
  at::Tensor result = outputs[0].to(at::kCPU, at::kFloat);
  outputs.erase(outputs.begin());
  state = {.tensors = std::move(outputs), .frame = frame_shape(input)};
  return result;
}

void check_continues(const std::string& what, const at::Tensor& frames, const VideoState& state) {
  GLINT_CHECK(state.empty() || state.frame == frame_shape(frames), ShapeMismatch,
              "{}: expected frames of shape {} like those before, got {}", what, shape_string(state.frame),
              shape_string(frame_shape(frames)));
}

}  // namespace glint::detail
