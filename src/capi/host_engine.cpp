// An engine whose network is a callback of the host.
#include "capi/engine.hpp"

#include <glint/guidance/cfg.hpp>
#include <glint/solver/first_order.hpp>

#include <array>

namespace glint::capi {
namespace {

glint_tensor view_or_none(const Tensor& tensor) {
  glint_tensor none{};
  none.struct_size = sizeof(glint_tensor);
  return tensor.defined() ? view_of(tensor) : none;
}

/// The host's network. Ends the host's data with itself.
class HostModel final : public Model {
 public:
  explicit HostModel(const glint_model& model) : model_(model) {
    GLINT_CHECK(model.predict, InvalidArgument, "model.predict: expected a function, got null");
    const int prediction = enum_number(model.prediction), noise_kind = enum_number(model.noise_kind);
    GLINT_CHECK(prediction >= GLINT_EPSILON && prediction <= GLINT_VELOCITY, InvalidArgument,
                "model.prediction: expected 1 to 4, got {}", prediction);
    GLINT_CHECK(noise_kind == GLINT_VP || noise_kind == GLINT_FLOW, InvalidArgument,
                "model.noise_kind: expected 1 or 2, got {}", noise_kind);
    GLINT_CHECK(model.latent_rank >= 0 && model.latent_rank <= 8, InvalidArgument,
                "model.latent_rank: expected 0 to 8, got {}", model.latent_rank);
    GLINT_CHECK(model.latent_rank == 0 || model.latent_sizes, InvalidArgument,
                "model.latent_sizes: expected {} sizes, got null", model.latent_rank);
    GLINT_CHECK(model.adapter_count == 0 || model.adapter_names, InvalidArgument,
                "model.adapter_names: expected {} names, got null", model.adapter_count);
    info_ = {.name = model.name ? model.name : "host model",
             .parameterization = static_cast<Parameterization>(model.prediction - 1),
             .noise_kind = static_cast<NoiseKind>(model.noise_kind - 1),
             .uncond_branch = model.no_uncond_branch == 0,
             .embedded_guidance = model.embedded_guidance != 0};
    for (int32_t d = 0; d < model.latent_rank; ++d) {
      const int64_t size = model.latent_sizes[d];
      GLINT_CHECK(size == -1 || size > 0, InvalidArgument,
                  "model.latent_sizes: expected sizes above 0, or -1 for any, got {}", size);
      info_.latent_shape.push_back(size);
    }
    for (size_t i = 0; i < model.adapter_count; ++i) {
      check_given(model.adapter_names[i], "model.adapter_names");
      info_.adapters.emplace_back(model.adapter_names[i]);
    }
    owned_ = true;  // what was refused above stays the caller's
  }
  ~HostModel() override {
    if (owned_) end_host_data(model_.destroy, model_.user);
  }
  HostModel(const HostModel&) = delete;
  HostModel& operator=(const HostModel&) = delete;

  const ModelInfo& info() const override { return info_; }

  std::vector<Tensor> predict(const ModelInput& in) const override {
    const Tensor x = in.x.contiguous();
    std::vector<Tensor> outputs, inputs;
    std::vector<glint_branch> branches;
    for (const Conditioning* conditioning : in.branches) {
      outputs.push_back(at::empty(x.sizes(), x.options()));
      glint_branch branch{};
      branch.struct_size = sizeof branch;
      for (const auto& [from, into] :
           {std::pair{&conditioning->tokens, &branch.tokens}, {&conditioning->pooled, &branch.pooled}}) {
        inputs.push_back(from->defined() ? from->contiguous() : *from);
        *into = view_or_none(inputs.back());
      }
      branch.output = view_of(outputs.back());
      branches.push_back(branch);
    }
    std::vector<const char*> names;
    std::vector<double> scales;
    for (const auto& [name, scale] : in.adapters) {
      names.push_back(name.c_str());
      scales.push_back(scale);
    }
    glint_predict_call call{};
    call.struct_size = sizeof call;
    call.latents = view_of(x);
    call.model_time = in.level.model_time;
    call.alpha = in.level.alpha;
    call.sigma = in.level.sigma;
    call.branch_count = branches.size();
    call.branches = branches.data();
    call.adapter_count = names.size();
    call.adapter_names = names.data();
    call.adapter_scales = scales.data();
    call.has_guidance = in.embedded_guidance ? 1 : 0;
    call.guidance = in.embedded_guidance.value_or(0.0);
    const int32_t answer = model_.predict(model_.user, &call);
    GLINT_CHECK(answer == 0, Internal, "model '{}': predict returned {}, 0 is success", info_.name, answer);
    return outputs;
  }

 private:
  glint_model model_;
  ModelInfo info_;
  bool owned_ = false;
};

class HostEngine final : public Engine {
 public:
  HostEngine(const glint_model& model, Log log) : Engine(std::move(log)) {
    if (model.train_steps != 0) vp_.train_steps = flow_.train_steps = model.train_steps;
    if (model.shift != 0.0) flow_.shift = model.shift;
    if (model.beta_start != 0.0) vp_.beta_start = model.beta_start;
    if (model.beta_end != 0.0) vp_.beta_end = model.beta_end;
    flow_.spacing = FlowSpacing::Training;
    // Refuses training values that cannot be, before the model takes the host's data over.
    enum_number(model.noise_kind) == GLINT_FLOW ? Euler().schedule(flow_, {.steps = 1})
                                                : Euler().schedule(vp_, {.steps = 1});
    model_ = std::make_shared<const HostModel>(model);
  }

  void check(const Options& options, std::string_view key) const override {
    Engine::check(options, key);
    const std::string text = options.get(key);
    if (key == "solver") builtins().solver(parse_choice(text));
    if (key == "with")
      for (const Choice& choice : parse_methods(text)) builtins().make(choice);
  }

  Work prepare(const Options& options, bool /*previews*/) const override {
    const ModelInfo& info = model_->info();
    const bool flow = info.noise_kind == NoiseKind::Flow;
    const auto solver = builtins().solver(parse_choice(options.get("solver", flow ? "flow-euler" : "euler")));
    GridOptions grid =
        read_options<GridOptions>("schedule", parse_pairs(options.get("schedule"), "schedule"));
    grid.steps = static_cast<int>(options.number("steps", 20));
    SamplerParts parts{.predictor = predictor(options),
                       .schedule = flow ? solver->schedule(flow_, grid) : solver->schedule(vp_, grid),
                       .solver = solver};
    add_methods(options, parts);
    auto sampler = std::make_shared<const Sampler>(std::move(parts));
    SampleRequest request{
        .prompt = Prompt{Conditioning{.tokens = options.tensor("tokens"), .pooled = options.tensor("pooled")},
                         Conditioning{.tokens = options.tensor("null_tokens"),
                                      .pooled = options.tensor("null_pooled")}},
        .seed = std::stoull(options.get("seed", "0")),
        .batch = static_cast<int64_t>(options.number("count", 1)),
        .latent_shape = parse_sizes(options.get("size")),
        .noise = options.tensor("noise")};
    return [sampler, request](Observer* observer) {
      SampleRequest own = request;
      own.observer = observer;
      return Outcome{.sample = sampler->sample(own)};
    };
  }

 private:
  /// Returns the model with its guidance: the rule among the methods, or CFG at the session's scale.
  Predictor predictor(const Options& options) const {
    Predictor predictor{.model = model_, .adapters = parse_adapters(options.get("adapters"))};
    const bool embedded = model_->info().embedded_guidance;
    if (embedded) predictor.embedded_guidance = options.number("guidance", 1.0);
    predictor.rule = std::make_shared<const Cfg>(embedded ? 1.0 : options.number("guidance", 1.0));
    return predictor;
  }

  void add_methods(const Options& options, SamplerParts& parts) const {
    bool has_rule = false;
    for (Choice choice : parse_methods(options.get("with"))) {
      const auto& entry = builtins().entry(choice.name);
      if (entry.info.kind == "rule") {
        GLINT_CHECK(!has_rule, InvalidArgument, "with: expected one rule at most, got '{}' too", choice.name);
        has_rule = true;
        const bool scaled = std::any_of(entry.options.begin(), entry.options.end(),
                                        [](const OptionDescription& o) { return o.name == "scale"; });
        if (scaled && options.text.contains("guidance"))
          choice.options.emplace("scale", options.number("guidance", 1.0));
      }
      std::visit(Adding{parts}, builtins().make(choice));
    }
    for (const auto& strategy : options.strategies) parts.step_methods.emplace_back(strategy);
  }

  /// Puts a product where it belongs.
  struct Adding {
    SamplerParts& parts;
    void operator()(const std::shared_ptr<const GuidanceRule>& rule) const { parts.predictor.rule = rule; }
    void operator()(const std::shared_ptr<const GuidanceFilter>& filter) const {
      parts.predictor.filters.push_back(filter);
    }
    void operator()(const StepMethod& method) const { parts.step_methods.push_back(method); }
    void operator()(const std::shared_ptr<const NoiseStrategy>& noise) const {
      parts.noise_strategies.push_back(noise);
    }
    void operator()(const std::shared_ptr<const Solver>&) const {
      fail(ErrorCode::InvalidArgument, "with: a solver is given by the option solver");
    }
    void operator()(const AttentionPolicy& policy) const { parts.predictor.attention = policy; }
    void operator()(const NormalizedGuidance& guidance) const { parts.predictor.normalized = guidance; }
    void operator()(const std::shared_ptr<const StepCache>& cache) const { parts.cache = cache; }
  };

  VpTraining vp_;
  FlowTraining flow_;
  std::shared_ptr<const HostModel> model_;
};

}  // namespace

std::shared_ptr<const Engine> make_host_engine(const glint_model& model, Engine::Log log) {
  return std::make_shared<const HostEngine>(model, std::move(log));
}

}  // namespace glint::capi
