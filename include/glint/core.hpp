// Every header of the light core, in the order of the layers: glint::core, with or without libtorch.
#pragma once

#include <glint/export.hpp>
#include <glint/fwd.hpp>
#include <glint/version.hpp>

#include <glint/core/beta_distribution.hpp>
#include <glint/core/clean_sample.hpp>
#include <glint/core/enum_names.hpp>
#include <glint/core/error.hpp>
#include <glint/core/level.hpp>
#include <glint/core/message.hpp>
#include <glint/core/nearest.hpp>
#include <glint/core/number.hpp>
#include <glint/core/number_list.hpp>
#include <glint/core/options.hpp>
#include <glint/core/parameterization.hpp>
#include <glint/core/rng.hpp>
#include <glint/core/schedule.hpp>
#include <glint/core/schedule_flow.hpp>
#include <glint/core/schedule_options.hpp>
#include <glint/core/schedule_vp.hpp>
#include <glint/core/step_window.hpp>
#include <glint/core/tensor.hpp>

#include <glint/model/branches.hpp>
#include <glint/model/callable_model.hpp>
#include <glint/model/conditioning.hpp>
#include <glint/model/gaussian_mixture_model.hpp>
#include <glint/model/model.hpp>
#include <glint/model/text_tokens.hpp>

#include <glint/guidance/apg.hpp>
#include <glint/guidance/autoguidance.hpp>
#include <glint/guidance/cfg.hpp>
#include <glint/guidance/cfg_schedule.hpp>
#include <glint/guidance/cfg_zero_star.hpp>
#include <glint/guidance/core2.hpp>
#include <glint/guidance/difference_rule.hpp>
#include <glint/guidance/fdg.hpp>
#include <glint/guidance/filters.hpp>
#include <glint/guidance/guidance_filter.hpp>
#include <glint/guidance/guidance_rule.hpp>
#include <glint/guidance/mambo_g.hpp>
#include <glint/guidance/per_sample.hpp>
#include <glint/guidance/perturbation.hpp>
#include <glint/guidance/tcfg.hpp>
#include <glint/guidance/tdg.hpp>

#include <glint/solver/cfgpp.hpp>
#include <glint/solver/deis.hpp>
#include <glint/solver/dpmpp_2m.hpp>
#include <glint/solver/dpmpp_3m_sde.hpp>
#include <glint/solver/dpmpp_sde.hpp>
#include <glint/solver/er_sde.hpp>
#include <glint/solver/first_order.hpp>
#include <glint/solver/heun.hpp>
#include <glint/solver/lcm.hpp>
#include <glint/solver/log_snr.hpp>
#include <glint/solver/res.hpp>
#include <glint/solver/solver.hpp>
#include <glint/solver/unipc.hpp>

#include <glint/attention/gain.hpp>
#include <glint/attention/normalized_guidance.hpp>
#include <glint/attention/options.hpp>
#include <glint/attention/policy.hpp>
#include <glint/attention/policy_options.hpp>
#include <glint/attention/token_order.hpp>

#include <glint/sampling/guidance_meter.hpp>
#include <glint/sampling/moves.hpp>
#include <glint/sampling/noise_strategy.hpp>
#include <glint/sampling/observer.hpp>
#include <glint/sampling/predictor.hpp>
#include <glint/sampling/predictor_changes.hpp>
#include <glint/sampling/request.hpp>
#include <glint/sampling/run.hpp>
#include <glint/sampling/sampler.hpp>
#include <glint/sampling/step_cache.hpp>
#include <glint/sampling/step_strategy.hpp>

#include <glint/step/reflect.hpp>
#include <glint/step/reflect_options.hpp>
#include <glint/step/rf_sampling.hpp>
#include <glint/step/w2sd.hpp>
#include <glint/step/z_core2.hpp>
#include <glint/step/z_sampling.hpp>

#include <glint/noise/golden_noise.hpp>
#include <glint/noise/reward_selection.hpp>
#include <glint/noise/stability.hpp>
#include <glint/noise/stability_optimization.hpp>
#include <glint/noise/stability_selection.hpp>

#include <glint/catalog/build_context.hpp>
#include <glint/catalog/option_values.hpp>
#include <glint/catalog/registry.hpp>
