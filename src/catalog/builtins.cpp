// What ships, one line each. The only file that includes every strategy.
#include <glint/attention/choices.hpp>
#include <glint/guidance/apg.hpp>
#include <glint/guidance/autoguidance.hpp>
#include <glint/guidance/cfg.hpp>
#include <glint/guidance/cfg_schedule.hpp>
#include <glint/guidance/cfg_zero_star.hpp>
#include <glint/guidance/core2.hpp>
#include <glint/guidance/fdg.hpp>
#include <glint/guidance/filters.hpp>
#include <glint/guidance/mambo_g.hpp>
#include <glint/guidance/perturbation.hpp>
#include <glint/guidance/tcfg.hpp>
#include <glint/guidance/tdg.hpp>
#include <glint/noise/golden_noise.hpp>
#include <glint/noise/reward_selection.hpp>
#include <glint/noise/stability_optimization.hpp>
#include <glint/noise/stability_selection.hpp>
#include <glint/catalog/registry.hpp>
#include <glint/solver/cfgpp.hpp>
#include <glint/solver/dpmpp_2m.hpp>
#include <glint/solver/first_order.hpp>
#include <glint/solver/lcm.hpp>
#include <glint/solver/unipc.hpp>
#include <glint/step/reflect_choice.hpp>
#include <glint/step/rf_sampling.hpp>
#include <glint/step/w2sd.hpp>
#include <glint/step/z_core2.hpp>
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
    r.add<AutoGuidance>();
    r.add<Perturbation>();
    r.add<Core2>();

    r.add<Interval>();
    r.add<Rescale>();
    r.add<Dynamic>();

    r.add<Ddim>();
    r.add<Euler>();
    r.add<EulerAncestral>();
    r.add<Dpmpp2m>();
    r.add<Dpmpp2mSde>();
    r.add<UniPc>();
    r.add<Lcm>();
    r.add<FlowEuler>();
    r.add<CfgPlusPlus>();

    r.add<ZSampling>();
    r.add<W2sd>();
    r.add<RfSampling>();
    r.add<ZCore2>();
    r.add<ReflectChoice>();

    r.add<StabilitySelection>();
    r.add<StabilityOptimization>();
    r.add<RewardSelection>();
    r.add<GoldenNoise>();

    r.add<DenseAttention>();
    r.add<PisaAttention>();
    r.add<IsaAttention>();
    return r;
  }();
  return registry;
}

}  // namespace glint
