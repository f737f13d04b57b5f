// PISA and ISA as their definitions read, in double and without any blocking: what the kernels are compared
// with.
//
// One head at a time.   n: queries   m: keys   d: head size   e: value size   b: block size   j: key block
#pragma once

#include <glint/attention/options.hpp>

#include "ops/grid.hpp"

#include <cstdint>
#include <vector>

namespace glint::ops::reference {

/// A row-major matrix.
struct Matrix {
  int64_t rows = 0, columns = 0;
  std::vector<double> values = std::vector<double>(static_cast<size_t>(rows * columns));

  double* row(int64_t i) { return values.data() + i * columns; }
  const double* row(int64_t i) const { return values.data() + i * columns; }
};

/// q [n,d], k [m,d], v [m,e].
struct Head {
  Matrix q, k, v;
};

using Blocks = std::vector<std::vector<int32_t>>;  ///< a list of block indices for every query block

/// The plan of ISA for one head; see IsaPlan.
struct Plan {
  std::vector<int32_t> context, sharp, diffuse;
  Blocks exact;
};

Matrix dense(const Head& head, double scale);
Blocks pisa_select(const Head& head, const PisaOptions& options);
Matrix pisa(const Head& head, const PisaOptions& options, const Blocks& selected);
Plan isa_plan(const Head& head, const IsaOptions& options);
/// `gate` has one entry per token, or none at all.
Matrix isa(const Head& head, const IsaOptions& options, const Plan& plan, const std::vector<double>& gate);

}  // namespace glint::ops::reference
