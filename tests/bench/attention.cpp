// Sparse against dense attention, in one process and on the same threads: a table, or CSV for
// tools/bench/attention_plot.py.
//
//   glint_bench_attention [--threads N] [--max-tokens N] [--vector-bytes 64|32|16] [--csv FILE]
//
// Dense and sparse take turns. Times are the fastest of all rounds; the ratio is the median of those of
// neighbouring runs, which other programs disturb alike. Inputs are float32 [1,4,N,d] of unit variance:
// pictures that vary smoothly over about four tokens, plus a tenth of noise, with tokens in patches of 8 x 8.
#include <glint/core/tensor.hpp>
#include <glint/ops/sparse_attention.hpp>

#include "ops/grid.hpp"
#include "ops/kernels.hpp"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/upsample_bilinear2d.h>
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

namespace glint {
namespace {

constexpr int64_t kHeads = 4;

/// Long runs average out what short ones must be repeated for.
int rounds(int64_t tokens) { return tokens >= 8192 ? 3 : 7; }

struct Inputs {
  at::Tensor q, k, v;
};

/// The fastest of all runs, in milliseconds.
class Fastest {
 public:
  /// Runs once and returns how long it took.
  template <typename Function>
  double time(Function&& function) {
    const auto start = std::chrono::steady_clock::now();
    function();
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    best_ = std::min(best_, took.count());
    return took.count();
  }
  double ms() const { return best_; }

 private:
  double best_ = std::numeric_limits<double>::infinity();
};

at::Tensor smooth(int64_t tokens, int64_t d) {
  int64_t height = 8;
  while (height * height * 2 < tokens) height *= 2;
  const int64_t width = tokens / height;
  const at::Tensor coarse = at::randn({1, kHeads * d, height / 4, width / 4});
  at::Tensor picture = at::upsample_bilinear2d(coarse, {height, width}, false);
  picture = picture / picture.std() + 0.1 * at::randn(picture.sizes());
  return picture.view({kHeads, d, height / 8, 8, width / 8, 8})
      .permute({0, 2, 4, 3, 5, 1})
      .reshape({1, kHeads, tokens, d});
}

Inputs inputs(int64_t tokens, int64_t d) { return {smooth(tokens, d), smooth(tokens, d), smooth(tokens, d)}; }

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

double relative_error(const at::Tensor& x, const at::Tensor& exact) {
  return ((x - exact).norm() / exact.norm()).item<double>();
}

/// What the operations alone allow: exact share, means, moments, selection. See docs/attention.md.
double pisa_bound(int64_t tokens, int64_t d, double density) {
  const int64_t blocks = ops::ceil_div(tokens, 64);
  const double exact = static_cast<double>(ops::budget(density, blocks)) / static_cast<double>(blocks);
  if (exact == 1.0) return 1.0;
  return 1.0 /
         (exact + 1.0 / 64 + static_cast<double>(d) / static_cast<double>(tokens) + 1.0 / (2 * 64 * 64));
}

struct Table {
  std::FILE* csv;

  explicit Table(std::FILE* file) : csv(file) {
    fmt::print("{} kernels, {} threads\n", ops::kernel_target(), at::get_num_threads());
    fmt::print("{:>5} {:>6} {:>4} {:>7} {:>9} {:>9} {:>6} {:>6} {:>8} {:>6} {:>5}\n", "what", "tokens", "d",
               "density", "dense ms", "sparse ms", "ratio", "bound", "error", "select", "bf16");
    if (csv)
      fmt::print(csv,
                 "threads,target,what,tokens,d,density,dense_ms,sparse_ms,ratio,bound,relative_error,select_"
                 "share,bf16_over_fp32\n");
  }

  void add(const char* what, int64_t tokens, int64_t d, double density, double dense, double sparse,
           double ratio, double bound, double error, double select, double bf16) {
    fmt::print("{:>5} {:>6} {:>4} {:>7} {:>9.1f} {:>9.1f} {:>5.2f}x {:>5.1f}x {:>8.1e} {:>5.1f}% {:>5.2f}\n",
               what, tokens, d, density, dense, sparse, ratio, bound, error, 100 * select / sparse,
               bf16 / sparse);
    std::fflush(stdout);
    if (csv)
      fmt::print(csv, "{},{},{},{},{},{},{:.2f},{:.2f},{:.3f},{:.2f},{:.3e},{:.4f},{:.3f}\n",
                 at::get_num_threads(), ops::kernel_target(), what, tokens, d, density, dense, sparse, ratio,
                 bound, error, select / sparse, bf16 / sparse);
  }
};

void bench_pisa(Table& table, int64_t tokens, int64_t d) {
  const Inputs x = inputs(tokens, d),
               half{x.q.to(at::kBFloat16), x.k.to(at::kBFloat16), x.v.to(at::kBFloat16)};
  const std::array densities{0.05, 0.15, 0.3, 1.0};
  std::array<Fastest, 4> sparse, select, bf16;
  std::array<double, 4> error{};
  std::array<std::vector<double>, 4> ratios;
  Fastest dense;
  at::Tensor exact;
  for (int round = 0; round < rounds(tokens); ++round) {
    for (size_t i = 0; i < densities.size(); ++i) {
      PisaOptions options;
      options.density = densities[i];
      at::Tensor out;
      const double slow = dense.time([&] { exact = at::scaled_dot_product_attention(x.q, x.k, x.v); });
      ratios[i].push_back(slow / sparse[i].time([&] { out = pisa(x.q, x.k, x.v, options); }));
      select[i].time([&] { pisa_select(x.q, x.k, x.v, options); });
      bf16[i].time([&] { pisa(half.q, half.k, half.v, options); });
      error[i] = relative_error(out, exact);
    }
  }
  for (size_t i = 0; i < densities.size(); ++i)
    table.add("pisa", tokens, d, densities[i], dense.ms(), sparse[i].ms(), median(ratios[i]),
              pisa_bound(tokens, d, densities[i]), error[i], select[i].ms(), bf16[i].ms());
}

void bench_isa(Table& table, int64_t tokens, int64_t d) {
  const Inputs x = inputs(tokens, d),
               half{x.q.to(at::kBFloat16), x.k.to(at::kBFloat16), x.v.to(at::kBFloat16)};
  IsaOptions options;
  options.main_length = tokens / 2;
  Fastest dense, sparse, plan, bf16;
  at::Tensor exact, out;
  std::vector<double> ratios;
  for (int round = 0; round < rounds(tokens); ++round) {
    const double slow = dense.time([&] { exact = at::scaled_dot_product_attention(x.q, x.k, x.v); });
    ratios.push_back(slow / sparse.time([&] { out = isa(x.q, x.k, x.v, options); }));
    plan.time([&] { isa_plan(x.q, x.k, options); });
    bf16.time([&] { isa(half.q, half.k, half.v, options); });
  }
  table.add("isa", tokens, d, options.density, dense.ms(), sparse.ms(), median(ratios), 3.3,
            relative_error(out, exact), plan.ms(), bf16.ms());
}

int run(int argc, char** argv) {
  int threads = 1;
  int64_t most = 16384;
  std::string csv;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--threads") == 0) threads = std::atoi(argv[i + 1]);
    if (std::strcmp(argv[i], "--max-tokens") == 0) most = std::atoll(argv[i + 1]);
    if (std::strcmp(argv[i], "--vector-bytes") == 0) ops::limit_vectors(std::atoi(argv[i + 1]));
    if (std::strcmp(argv[i], "--csv") == 0) csv = argv[i + 1];
  }
  at::set_num_threads(threads);
  std::FILE* file = csv.empty() ? nullptr : std::fopen(csv.c_str(), "w");
  if (!csv.empty() && !file) {
    fmt::print(stderr, "{}: cannot be written\n", csv);
    return 1;
  }
  Table table(file);
  for (int64_t d : {64, 128})
    for (int64_t tokens = 1024; tokens <= most; tokens *= 2) bench_pisa(table, tokens, d);
  for (int64_t tokens = 4096; tokens <= most; tokens *= 2) bench_isa(table, tokens, 128);
  if (file) std::fclose(file);
  return 0;
}

}  // namespace
}  // namespace glint

int main(int argc, char** argv) { return glint::run(argc, argv); }
