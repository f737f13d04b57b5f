// The table of built-in entries, one line each.
#include "catalog/entries.hpp"

#include <glint/cache/adaptive_guidance.hpp>
#include <glint/cache/cfg_cache.hpp>
#include <glint/cache/easy_cache.hpp>
#include <glint/cache/mag_cache.hpp>
#include <glint/cache/spectrum.hpp>
#include <glint/cache/step_mask.hpp>
#include <glint/cache/taylor_seer.hpp>
#include <glint/guidance/apg.hpp>
#include <glint/guidance/cfg.hpp>
#include <glint/guidance/cfg_schedule.hpp>
#include <glint/guidance/cfg_zero_star.hpp>
#include <glint/guidance/fdg.hpp>
#include <glint/guidance/filters.hpp>
#include <glint/guidance/mambo_g.hpp>
#include <glint/guidance/tcfg.hpp>
#include <glint/guidance/tdg.hpp>
#include <glint/noise/stability_optimization.hpp>
#include <glint/noise/stability_selection.hpp>
#include <glint/solver/cfgpp.hpp>
#include <glint/solver/deis.hpp>
#include <glint/solver/dpmpp_2m.hpp>
#include <glint/solver/dpmpp_3m_sde.hpp>
#include <glint/solver/dpmpp_sde.hpp>
#include <glint/solver/er_sde.hpp>
#include <glint/solver/first_order.hpp>
#include <glint/solver/heun.hpp>
#include <glint/solver/lcm.hpp>
#include <glint/solver/res.hpp>
#include <glint/solver/unipc.hpp>
#include <glint/step/rf_sampling.hpp>
#include <glint/step/z_sampling.hpp>

namespace glint {

const Registry& builtins() {
  static const Registry registry = [] {
    Registry r;
    r.add<Cfg>();
    r.add<CfgSchedule>();
    r.add<CfgZeroStar>();
    r.add<Apg>();
    r.add<MamboG>();
    r.add<Tcfg>();
    r.add<Fdg>();
    r.add<Tdg>();
    detail::add_autoguidance(r);
    detail::add_perturbation(r);
    detail::add_core2(r);

    r.add<Interval>();
    r.add<Rescale>();
    r.add<Dynamic>();
    r.add<Clip>();
    r.add<Threshold>();

    r.add<Ddim>();
    r.add<Euler>();
    r.add<EulerAncestral>();
    r.add<Heun>();
    r.add<Dpm2>();
    r.add<Restart>();
    r.add<Dpmpp2m>();
    r.add<Dpmpp2mSde>();
    r.add<DpmppSde>();
    r.add<Dpmpp3mSde>();
    r.add<UniPc>();
    r.add<Deis>();
    r.add<Res2s>();
    r.add<ResMultistep>();
    r.add<ErSde>();
    r.add<Lcm>();
    r.add<FlowEuler>();
    r.add<CfgPlusPlus>();

    r.add<ZSamplingOptions>(z_sampling);
    detail::add_w2sd(r);
    r.add<RfSamplingOptions>(rf_sampling);
    detail::add_z_core2(r);
    detail::add_reflect(r);

    r.add<StabilitySelection>();
    r.add<StabilityOptimization>();
    detail::add_reward_selection(r);
    detail::add_golden_noise(r);

    detail::add_attention(r);

    r.add<EasyCache>();
    r.add<MagCache>();
    r.add<TaylorSeer>();
    r.add<Spectrum>();
    r.add<CfgCache>();
    r.add<AdaptiveGuidance>();
    r.add<StepMask>();
    return r;
  }();
  return registry;
}

}  // namespace glint
