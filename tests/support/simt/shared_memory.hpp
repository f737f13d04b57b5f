// A block's emulated shared memory. Each two bytes remember who wrote and read them since which barrier.
#pragma once

#include "tests/support/simt/report.hpp"

#include <cstdint>
#include <cstring>
#include <vector>

namespace glint::simt {

class SharedMemory {
 public:
  explicit SharedMemory(std::size_t bytes) : bytes_(bytes), cells_((bytes + 1) / 2) {}

  void clear(int warps) {
    std::fill(cells_.begin(), cells_.end(), Cell{});
    warp_phase_.assign(static_cast<std::size_t>(warps), 1);
    phase_ = 1;
  }
  void block_barrier() { ++phase_; }
  void warp_barrier(int warp) { ++warp_phase_[static_cast<std::size_t>(warp)]; }

  void read(std::uint32_t at, void* to, std::uint32_t size, int thread, const std::source_location& where) {
    check(at, size, where);
    for (std::uint32_t i = at / 2; i < (at + size) / 2; ++i) read_cell(cells_[i], thread, where);
    std::memcpy(to, bytes_.data() + at, size);
  }
  void write(std::uint32_t at, const void* from, std::uint32_t size, int thread,
             const std::source_location& where) {
    check(at, size, where);
    for (std::uint32_t i = at / 2; i < (at + size) / 2; ++i) write_cell(cells_[i], thread, where);
    std::memcpy(bytes_.data() + at, from, size);
  }
  /// Adds without being a race against other additions of the same phase.
  std::int32_t add(std::uint32_t at, std::int32_t value, int thread, const std::source_location& where) {
    check(at, 4, where);
    for (std::uint32_t i = at / 2; i < (at + 4) / 2; ++i) {
      Cell& c = cells_[i];
      if (!c.atomic || c.write_phase != phase_) {
        if (c.state == State::Empty) throw Fault(FaultKind::Uninitialized, "shared atomic at " + text(where));
        write_cell(c, thread, where);
        c.atomic = true;
        c.writer = lanes_of(thread);
      }
      if (c.writer != lanes_of(thread)) c.writer = kMany;
      c.write_warp_phase = warp_phase(thread);
    }
    std::int32_t old;
    std::memcpy(&old, bytes_.data() + at, 4);
    const std::int32_t sum = old + value;
    std::memcpy(bytes_.data() + at, &sum, 4);
    return old;
  }
  /// An asynchronous copy to [at, at + size) begins: nobody may touch the bytes before it is finished.
  void begin_copy(std::uint32_t at, std::uint32_t size, int thread, const std::source_location& where) {
    check(at, size, where);
    for (std::uint32_t i = at / 2; i < (at + size) / 2; ++i) {
      write_cell(cells_[i], thread, where);
      cells_[i].state = State::InFlight;
    }
  }
  void finish_copy(std::uint32_t at, const void* from, std::uint32_t size, int thread) {
    for (std::uint32_t i = at / 2; i < (at + size) / 2; ++i) {
      Cell& c = cells_[i];
      c.state = State::Written;
      c.writer = thread;
      c.write_phase = phase_;
      c.write_warp_phase = warp_phase(thread);
    }
    std::memcpy(bytes_.data() + at, from, size);
  }

 private:
  static constexpr std::int32_t kMany = -1, kNobody = -2;
  /// Stands for several lanes of a thread's warp.
  static constexpr std::int32_t lanes_of(int thread) { return -10 - thread / kWarp; }
  enum class State : std::uint8_t { Empty, Written, InFlight };
  struct Cell {
    std::uint32_t write_phase = 0, write_warp_phase = 0, read_phase = 0, read_warp_phase = 0;
    std::int32_t writer = kNobody, reader = kNobody, reader_warp = kNobody;
    State state = State::Empty;
    bool atomic = false;
  };

  std::uint32_t warp_phase(int thread) const { return warp_phase_[static_cast<std::size_t>(thread / kWarp)]; }

  void check(std::uint32_t at, std::uint32_t size, const std::source_location& where) const {
    if (at % size != 0)
      throw Fault(FaultKind::Misaligned, "shared access of " + std::to_string(size) + " bytes to " +
                                             std::to_string(at) + " at " + text(where));
    if (at + size > bytes_.size())
      throw Fault(FaultKind::SharedBounds, "shared access to " + std::to_string(at) + " of " +
                                               std::to_string(bytes_.size()) + " bytes at " + text(where));
  }
  /// Whether what `other` did in the given phases is ordered before what `thread` does now.
  bool ordered(std::int32_t other, std::uint32_t phase, std::uint32_t other_warp_phase, int thread) const {
    if (phase < phase_ || other == thread || other == kNobody) return true;
    const bool own_warp = other >= 0 ? other / kWarp == thread / kWarp : other == lanes_of(thread);
    return own_warp && other_warp_phase < warp_phase(thread);
  }
  void read_cell(Cell& c, int thread, const std::source_location& where) {
    if (c.state == State::Empty) throw Fault(FaultKind::Uninitialized, "shared read at " + text(where));
    if (c.state == State::InFlight)
      throw Fault(FaultKind::InFlight, "shared read before its copy was waited for, at " + text(where));
    if (!ordered(c.writer, c.write_phase, c.write_warp_phase, thread))
      throw Fault(FaultKind::Race, "shared read at " + text(where) + " of what another thread wrote");
    if (c.read_phase != phase_) {
      c.read_phase = phase_;
      c.reader = thread;
      c.reader_warp = thread / kWarp;
    } else {
      if (c.reader != thread) c.reader = kMany;
      if (c.reader_warp != thread / kWarp) c.reader_warp = kMany;
    }
    c.read_warp_phase = warp_phase(thread);
  }
  void write_cell(Cell& c, int thread, const std::source_location& where) {
    if (c.state == State::InFlight)
      throw Fault(FaultKind::InFlight, "shared write over an unfinished copy at " + text(where));
    if (!ordered(c.writer, c.write_phase, c.write_warp_phase, thread))
      throw Fault(FaultKind::Race, "shared write at " + text(where) + " over another thread's");
    const bool read_now = c.read_phase == phase_ && c.reader != thread;
    const bool by_own_warp = c.reader_warp == thread / kWarp && c.read_warp_phase < warp_phase(thread);
    if (read_now && !by_own_warp)
      throw Fault(FaultKind::Race, "shared write at " + text(where) + " over what another thread read");
    c.state = State::Written;
    c.writer = thread;
    c.write_phase = phase_;
    c.write_warp_phase = warp_phase(thread);
    c.atomic = false;
  }

  std::vector<unsigned char> bytes_;
  std::vector<Cell> cells_;
  std::vector<std::uint32_t> warp_phase_;
  std::uint32_t phase_ = 1;
};

}  // namespace glint::simt
