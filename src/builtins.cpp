// What ships, one line each. The only file that includes every strategy.
#include <glint/attention/choices.hpp>
#include <glint/guidance/cfg.hpp>
#include <glint/registry.hpp>
#include <glint/solver/dpmpp_2m.hpp>
#include <glint/solver/first_order.hpp>
#include <glint/solver/lcm.hpp>
#include <glint/solver/unipc.hpp>
#include <glint/step/z_sampling.hpp>

namespace glint {

const Registry& builtins() {
  static const Registry registry = [] {
    Registry r;
    r.add<Cfg>();

    r.add<Ddim>();
    r.add<Euler>();
    r.add<EulerAncestral>();
    r.add<Dpmpp2m>();
    r.add<Dpmpp2mSde>();
    r.add<UniPc>();
    r.add<Lcm>();
    r.add<FlowEuler>();

    r.add<ZSampling>();

    r.add<DenseAttention>();
    r.add<PisaAttention>();
    r.add<IsaAttention>();
    return r;
  }();
  return registry;
}

}  // namespace glint
