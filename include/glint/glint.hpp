// Every public header, in the order of the layers.
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

#include <glint/cache/adaptive_guidance.hpp>
#include <glint/cache/cfg_cache.hpp>
#include <glint/cache/easy_cache.hpp>
#include <glint/cache/mag_cache.hpp>
#include <glint/cache/spectrum.hpp>
#include <glint/cache/step_mask.hpp>
#include <glint/cache/taylor_seer.hpp>
#include <glint/cache/unconditional.hpp>
#include <glint/cache/whole_step.hpp>

#include <glint/io/lines.hpp>
#include <glint/io/output_file.hpp>
#include <glint/io/safetensors.hpp>
#include <glint/io/sha256.hpp>
#include <glint/io/utf8.hpp>

#include <glint/ops/attention_scope.hpp>
#include <glint/ops/sparse_attention.hpp>

#include <glint/image/image.hpp>
#include <glint/image/image_file.hpp>
#include <glint/image/label.hpp>
#include <glint/image/png.hpp>
#include <glint/image/video.hpp>
#include <glint/image/webp.hpp>

#include <glint/network/attention_rewrite.hpp>
#include <glint/network/backend.hpp>
#include <glint/network/network.hpp>

#include <glint/text/prompt_encoder.hpp>
#include <glint/text/prompt_options.hpp>
#include <glint/text/subword_tokenizers.hpp>
#include <glint/text/text_encoder.hpp>
#include <glint/text/token_frame.hpp>
#include <glint/text/tokenizer.hpp>

#include <glint/vae/image_decoder.hpp>
#include <glint/vae/image_encoder.hpp>
#include <glint/vae/vae_options.hpp>
#include <glint/vae/video_decoder.hpp>
#include <glint/vae/video_encoder.hpp>
#include <glint/vae/video_state.hpp>

#include <glint/lora/adapter.hpp>

#include <glint/bundle/bundle.hpp>
#include <glint/bundle/component_call.hpp>
#include <glint/bundle/manifest.hpp>
#include <glint/bundle/network_model.hpp>

#include <glint/catalog/build_context.hpp>
#include <glint/catalog/components.hpp>
#include <glint/catalog/method.hpp>
#include <glint/catalog/option_values.hpp>
#include <glint/catalog/registry.hpp>
#include <glint/catalog/scorer.hpp>

#include <glint/pipeline/pipeline.hpp>
#include <glint/pipeline/plan.hpp>
#include <glint/pipeline/request.hpp>
#include <glint/pipeline/share.hpp>

#include <glint/collect/collection.hpp>
#include <glint/collect/noise_pairs.hpp>
#include <glint/collect/trajectories.hpp>

#include <glint/eval/arm.hpp>
#include <glint/eval/evaluation.hpp>
#include <glint/eval/statistics.hpp>
