#include "tests/support/emulated_attention.hpp"

#include "tests/support/simt/device.hpp"

namespace glint::test {
namespace {

using namespace ops;

std::int64_t bytes(Element element) { return element == Element::Float32 ? 4 : 2; }

/// Host operands copied to the device, and what comes back.
class Session {
 public:
  Session(Emulation& e, const Operands& host) : e_(e), host_(host), device_(host) {
    device.options = e.options;
    for (Rows Operands::*rows : {&Operands::q, &Operands::k, &Operands::v}) {
      const Rows& x = host.*rows;
      (device_.*rows).data = device.memory.upload(static_cast<const char*>(x.data), size(x));
    }
    device_.out.data = device.memory.allocate(size(host.out));
  }
  cuda::Engine<simt::EmulatedDevice> engine(std::int64_t block_size) {
    return {device, device_, block_size, e_.matrix_units};
  }
  int* upload(const BlockList& list, std::int64_t rows) {
    return device.memory.upload(list.blocks, static_cast<std::size_t>(rows * list.count));
  }
  BlockList allocate(const BlockList& list, std::int64_t rows) {
    return {device.allocate<int>(rows * list.count), list.count};
  }
  static void fetch(const BlockList& from, const BlockList& to, std::int64_t rows) {
    std::copy_n(from.blocks, rows * to.count, to.blocks);
  }
  /// Copies the rows of the result that were written, all of which must be.
  void fetch_result() {
    const Rows& x = host_.out;
    const auto row = static_cast<std::size_t>(x.size * bytes(x.element));
    for (std::int64_t b = 0; b < host_.batch; ++b)
      for (std::int64_t h = 0; h < host_.heads; ++h)
        for (std::int64_t t = 0; t < x.tokens; ++t) {
          const std::int64_t at =
              (b * x.batch_stride + h * x.head_stride + t * x.token_stride) * bytes(x.element);
          const char* from = static_cast<const char*>(device_.out.data) + at;
          for (std::size_t i = 0; i < row; i += 2)
            device.memory.check_read(from + i, 2, simt::GlobalMemory::kHost, std::source_location::current());
          std::memcpy(static_cast<char*>(x.data) + at, from, row);
        }
  }
  void count() {
    e_.attention.add(device.report<cuda::AttendTuned<cuda::Half, 64>::Kernel>());
    e_.attention.add(device.report<cuda::AttendTuned<cuda::Half, 128>::Kernel>());
    e_.attention.add(device.report<cuda::AttendTuned<cuda::BFloat16, 64>::Kernel>());
    e_.attention.add(device.report<cuda::AttendTuned<cuda::BFloat16, 128>::Kernel>());
    e_.statistics.add(device.report<cuda::StatisticsMma<cuda::Half, 64>>());
    e_.statistics.add(device.report<cuda::StatisticsMma<cuda::Half, 128>>());
    e_.statistics.add(device.report<cuda::StatisticsMma<cuda::BFloat16, 64>>());
    e_.statistics.add(device.report<cuda::StatisticsMma<cuda::BFloat16, 128>>());
  }

  simt::EmulatedDevice device;

 private:
  std::size_t size(const Rows& x) const {
    const std::int64_t last = (host_.batch - 1) * x.batch_stride + (host_.heads - 1) * x.head_stride +
                              (x.tokens - 1) * x.token_stride + x.size;
    return static_cast<std::size_t>(last * bytes(x.element));
  }

  Emulation& e_;
  const Operands& host_;
  Operands device_;
};

PlanLists on_device(Session& s, const PlanLists& plan, std::int64_t heads, bool upload) {
  const auto take = [&](const BlockList& list, std::int64_t rows) {
    return upload ? BlockList{s.upload(list, rows), list.count} : s.allocate(list, rows);
  };
  return {take(plan.context, heads), take(plan.sharp, heads), take(plan.diffuse, heads),
          take(plan.exact, heads * plan.diffuse.count)};
}

}  // namespace

void emulated_pisa_select(Emulation& e, const Operands& o, const PisaOptions& options, BlockList selected) {
  Session s(e, o);
  const std::int64_t rows = o.batch * o.heads * Grid{o.q.tokens, options.block_size}.blocks();
  const BlockList device = s.allocate(selected, rows);
  s.engine(options.block_size).pisa_select(options, device);
  Session::fetch(device, selected, rows);
  s.count();
}

void emulated_pisa(Emulation& e, const Operands& o, const PisaOptions& options, BlockList selected) {
  Session s(e, o);
  const std::int64_t rows = o.batch * o.heads * Grid{o.q.tokens, options.block_size}.blocks();
  if (selected.blocks) selected.blocks = s.upload(selected, rows);
  s.engine(options.block_size).pisa(options, selected);
  s.fetch_result();
  s.count();
}

void emulated_isa_plan(Emulation& e, const Operands& o, const IsaOptions& options, const PlanLists& plan) {
  Session s(e, o);
  const std::int64_t heads = o.batch * o.heads;
  const PlanLists device = on_device(s, plan, heads, false);
  s.engine(IsaGrid::kBlock).isa_plan(options, device);
  Session::fetch(device.context, plan.context, heads);
  Session::fetch(device.sharp, plan.sharp, heads);
  Session::fetch(device.diffuse, plan.diffuse, heads);
  Session::fetch(device.exact, plan.exact, heads * plan.diffuse.count);
}

void emulated_isa(Emulation& e, const Operands& o, const IsaOptions& options, const PlanLists& plan,
                  const Gate& gate) {
  Session s(e, o);
  Gate device = gate;
  if (gate.data) {
    const std::int64_t last = (o.batch - 1) * gate.batch_stride + (o.heads - 1) * gate.head_stride +
                              (o.q.tokens - 1) * gate.token_stride + 1;
    device.data = s.device.memory.upload(gate.data, static_cast<std::size_t>(last));
  }
  s.engine(IsaGrid::kBlock).isa(options, on_device(s, plan, o.batch * o.heads, true), device);
  s.fetch_result();
  s.count();
}

}  // namespace glint::test
