// The emulator itself: what it computes and what it catches.
#include "tests/support/simt/primitives.hpp"
// After the primitives:
#include "ops/cuda/tile.cuh"
#include "tests/support/catch.hpp"

namespace glint::simt {
namespace GLINT_TEST_FILE {

using namespace ops::cuda;

constexpr int kThreads = 64;

Report run(GlobalMemory& memory, const std::function<void()>& kernel, const Options& options = {},
           std::size_t shared_bytes = 4096) {
  return Machine(memory, shared_bytes, kThreads, options).launch({2, 1, 1}, kernel);
}

/// Runs a kernel that is wrong and returns what was found.
FaultKind fault_of(const std::function<void()>& kernel, const Options& options = {}) {
  GlobalMemory memory;
  try {
    run(memory, kernel, options);
  } catch (const Fault& fault) {
    return fault.kind();
  }
  FAIL("nothing was found");
  return {};
}

TEST_CASE("Blocks, threads, shuffles, ballots and atomics compute what CUDA's do", "[ops]") {
  GlobalMemory memory;
  int* out = static_cast<int*>(memory.allocate(2 * kThreads * sizeof(int)));
  const bool reverse = GENERATE(false, true);
  run(memory,
      [&] {
        const int t = thread_index();
        if (t == 0) store_shared(0, 0);
        sync_block();
        add_shared(0, t);
        sync_block();
        const int sum = load_shared<int>(0), neighbour = shuffle_xor(t, 1), first = shuffle(t, 0);
        const auto odd = static_cast<int>(ballot(t % 2 == 1) & 0xf);
        store(out + block_x() * kThreads + t,
              sum + 10000 * neighbour + 1000000 * odd + 100000000 * first / 32);
      },
      {.reverse = reverse});
  for (int i = 0; i < 2 * kThreads; ++i) {
    const int t = i % kThreads;
    CHECK(out[i] == 2016 + 10000 * (t ^ 1) + 1000000 * 10 + 100000000 * (t / 32 * 32) / 32);
  }
}

/// C = A B for A [16,16], B [16,16] through tiles, copies, matrix loads and products.
template <typename T>
void product_through_fragments(bool transposed_b) {
  GlobalMemory memory;
  std::vector<T> a, b;
  for (int i = 0; i < 16 * 64; ++i) {
    a.push_back(from_float<T>(static_cast<float>(i * 7 % 31 - 15) / 8));
    b.push_back(from_float<T>(static_cast<float>(i * 11 % 29 - 14) / 8));
  }
  const T *a_at = memory.upload(a.data(), a.size()), *b_at = memory.upload(b.data(), b.size());
  float* c = static_cast<float*>(memory.allocate(16 * 16 * 4));
  Machine(memory, 4096, 128, {}).launch({1, 1, 1}, [&] {
    copy_tile<T, 64, 16, 128>(0, a_at, 64, [&](int r) { return a_at + 64 * r; });
    copy_tile<T, 64, 16, 128>(2048, b_at, 64, [&](int r) { return b_at + 64 * r; });
    commit_async();
    wait_async<0>();
    sync_block();
    std::uint32_t x[4], y[4];
    load_a<64>(0, 0, 0, x);
    if (transposed_b)
      load_b_of_rows<64>(2048, 0, 0, y);
    else
      load_b<64>(2048, 0, 0, y);
    float left[4] = {}, right[4] = {};
    multiply<T>(left, x, y[0], y[1]);
    multiply<T>(right, x, y[2], y[3]);
    const int g = thread_index() % 32 / 4, t = thread_index() % 4 * 2;
    for (int i = 0; thread_index() < 32 && i < 4; ++i) {
      store(c + (g + i / 2 * 8) * 16 + t + i % 2, left[i]);
      store(c + (g + i / 2 * 8) * 16 + 8 + t + i % 2, right[i]);
    }
  });
  for (int row = 0; row < 16; ++row)
    for (int column = 0; column < 16; ++column) {
      float sum = 0.0f;
      for (int k = 0; k < 16; ++k)
        sum += to_float(a[static_cast<size_t>(row * 64 + k)]) *
               to_float(b[static_cast<size_t>(transposed_b ? column * 64 + k : k * 64 + column)]);
      CHECK(c[row * 16 + column] == sum);  // eighths: exact
    }
}

TEST_CASE("Fragments lie as the instruction set's manual says", "[ops]") {
  const bool transposed = GENERATE(false, true);
  product_through_fragments<Half>(transposed);
  product_through_fragments<BFloat16>(transposed);
}

TEST_CASE("Half types round to the nearest, ties to even, to the ends of their ranges", "[ops]") {
  CHECK(from_float<Half>(1.0f).bits == 0x3c00);
  CHECK(from_float<Half>(-65504.0f).bits == 0xfbff);
  CHECK(from_float<Half>(65520.0f).bits == 0x7c00);
  CHECK(from_float<Half>(0x1p-24f).bits == 1);
  CHECK(from_float<Half>(0x1p-25f).bits == 0);
  CHECK(from_float<Half>(0.0f).bits == 0);
  CHECK(from_float<Half>(1.0f + 0x1p-11f).bits == 0x3c00);
  CHECK(from_float<Half>(1.0f + 0x3p-11f).bits == 0x3c02);
  CHECK(from_float<BFloat16>(1.0f + 0x1p-8f).bits == 0x3f80);
  CHECK(from_float<BFloat16>(1.0f + 0x3p-8f).bits == 0x3f82);
  int different = 0;
  for (unsigned bits = 0; bits < 0x7c00; ++bits)
    different += from_float<Half>(to_float(Half{static_cast<std::uint16_t>(bits)})).bits != bits;
  CHECK(different == 0);
}

TEST_CASE("Accesses out of bounds, misaligned or before any write are faults", "[ops]") {
  CHECK(fault_of([] { load_shared<float>(4096); }) == FaultKind::SharedBounds);
  CHECK(fault_of([] { store_shared(4092, Pair{}); }) == FaultKind::Misaligned);
  CHECK(fault_of([] { load_shared<float>(16); }) == FaultKind::Uninitialized);
  CHECK(fault_of([] { add_shared(16, 1); }) == FaultKind::Uninitialized);
  GlobalMemory memory;
  float* x = static_cast<float*>(memory.allocate(16));
  const auto kind_of = [&](const std::function<void()>& kernel) {
    try {
      run(memory, kernel);
    } catch (const Fault& fault) {
      return fault.kind();
    }
    return FaultKind::Divergence;
  };
  CHECK(kind_of([&] { load(x); }) == FaultKind::Uninitialized);
  CHECK(kind_of([&] { store(x + 4, 1.0f); }) == FaultKind::GlobalBounds);
  CHECK(kind_of([&] { store(x - 1, 1.0f); }) == FaultKind::GlobalBounds);
  CHECK(kind_of([&] { load(reinterpret_cast<const Quad*>(x + 1)); }) == FaultKind::Misaligned);
  // Two blocks: no order between them.
  CHECK(kind_of([&] { store(x, 1.0f); }) == FaultKind::Race);
}

TEST_CASE("Threads that share memory without a barrier are a race", "[ops]") {
  const auto exchange = [](const std::function<void()>& between) {
    return [between] {
      store_shared(thread_index() * 4, 1.0f);
      sync_block();
      store_shared(thread_index() * 4, 2.0f);
      between();
      load_shared<float>((thread_index() ^ 1) * 4);
    };
  };
  CHECK(fault_of(exchange([] {})) == FaultKind::Race);
  GlobalMemory memory;
  CHECK_NOTHROW(run(memory, exchange([] { sync_warp(); })));
  CHECK_NOTHROW(run(memory, exchange([] { sync_block(); })));
  CHECK(fault_of(exchange([] { sync_block(); }), {.drop_barrier = 1}) == FaultKind::Race);
  // A warp's own barrier orders nothing between warps.
  CHECK(fault_of([] {
          store_shared(thread_index() * 4, 1.0f);
          sync_block();
          store_shared(thread_index() * 4, 2.0f);
          sync_warp();
          load_shared<float>((thread_index() ^ 32) * 4);
        }) == FaultKind::Race);
  // Nor may what others still read be overwritten.
  CHECK(fault_of([] {
          store_shared(thread_index() * 4, 1.0f);
          sync_block();
          load_shared<float>((thread_index() ^ 1) * 4);
          store_shared(thread_index() * 4, 2.0f);
        }) == FaultKind::Race);
}

TEST_CASE("Asynchronous copies arrive only when their group is waited for", "[ops]") {
  std::vector<float> x(2 * kThreads * 4);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i);
  const auto kernel = [](const float* from, int wait) {
    return [=] {
      const int t = thread_index();
      copy_async(t * 16, from + t * 4, 16);
      commit_async();
      copy_async(1024 + t * 16, from + 4 * kThreads + t * 4, 8);
      commit_async();
      if (wait == 1) wait_async<1>();
      if (wait == 0) wait_async<0>();
      const Quad first = load_shared<Quad>(t * 16);
      const bool second = wait == 0;
      if (first.x[3] != static_cast<float>(4 * t + 3)) throw std::logic_error("wrong data");
      if (second && load_shared<Quad>(1024 + t * 16).x[1] == 0.0f) throw std::logic_error("no data");
      if (second && load_shared<Quad>(1024 + t * 16).x[2] != 0.0f) throw std::logic_error("no zeros");
    };
  };
  GlobalMemory memory;
  const float* from = memory.upload(x.data(), x.size());
  CHECK_NOTHROW(run(memory, kernel(from, 1)));
  CHECK_NOTHROW(run(memory, kernel(from, 0)));
  for (const auto& [wait, options] : {std::pair{2, Options{}}, {0, Options{.drop_wait = 0}}}) {
    try {
      run(memory, kernel(from, wait), options);
      FAIL("nothing was found");
    } catch (const Fault& fault) {
      CHECK(fault.kind() == FaultKind::InFlight);
    }
  }
  // What one thread waited for, others see only after a barrier.
  CHECK_THROWS_AS(run(memory,
                      [&] {
                        copy_async(thread_index() * 16, from, 16);
                        commit_async();
                        wait_async<0>();
                        load_shared<float>((thread_index() ^ 1) * 16);
                      }),
                  Fault);
}

TEST_CASE("Barriers and warp instructions that not all threads reach are a fault", "[ops]") {
  CHECK(fault_of([] {
          if (thread_index() != 5) sync_block();
        }) == FaultKind::Divergence);
  CHECK(fault_of([] {
          if (thread_index() < 32)
            sync_block();
          else
            sync_block(std::source_location{});
        }) == FaultKind::Divergence);
  CHECK(fault_of([] {
          if (thread_index() % 32 < 31) shuffle(1, 0);
        }) == FaultKind::Divergence);
  CHECK(fault_of([] {
          if (thread_index() % 2)
            ballot(true);
          else
            ballot(false, std::source_location{});
        }) == FaultKind::Divergence);
}

TEST_CASE("Bank conflicts are counted per line", "[ops]") {
  GlobalMemory memory;
  const auto worst = [&](int stride) {
    return run(memory,
               [stride] { store_shared(thread_index() % 32 * stride + thread_index() / 32 * 2048, 1.0f); })
        .worst_conflict();
  };
  CHECK(worst(4) == 1);
  CHECK(worst(8) == 2);
  CHECK(worst(64) == 16);
  CHECK(worst(20) == 1);
  const Report wide = run(memory, [] { store_shared(thread_index() * 16, Quad{}); });
  CHECK(wide.worst_conflict() == 1);
  CHECK(wide.conflicts.begin()->second.passes == 4 * wide.conflicts.begin()->second.accesses);
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint::simt
