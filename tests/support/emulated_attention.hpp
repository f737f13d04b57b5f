// The CUDA kernels on the CPU: the engine of src/ops/cuda over the emulator, on memory of the host.
#pragma once

#include "ops/engine.hpp"
#include "tests/support/simt/machine.hpp"

namespace glint::test {

/// How to run, and what the launches of the attention kernel and of the statistics on matrix units counted.
struct Emulation {
  bool matrix_units = true;
  simt::Options options = {};
  simt::Report attention = {}, statistics = {};
};

/// As glint::ops::pisa_select and so on. Results are written to the host memory that the arguments point at.
void emulated_pisa_select(Emulation& e, const ops::Operands& o, const PisaOptions& options,
                          ops::BlockList selected);
void emulated_pisa(Emulation& e, const ops::Operands& o, const PisaOptions& options, ops::BlockList selected);
void emulated_isa_plan(Emulation& e, const ops::Operands& o, const IsaOptions& options,
                       const ops::PlanLists& plan);
void emulated_isa(Emulation& e, const ops::Operands& o, const IsaOptions& options, const ops::PlanLists& plan,
                  const ops::Gate& gate);

}  // namespace glint::test
