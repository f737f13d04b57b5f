// Executes a kernel's blocks one after another, each thread on a stack of its own.
//
// A thread runs until it needs others: a barrier, or an instruction of the whole warp, which the last lane to
// arrive carries out for all. Memory is checked at every access, so faults show whatever order the threads
// run in.
#pragma once

#include "tests/support/simt/fibre.hpp"
#include "tests/support/simt/global_memory.hpp"
#include "tests/support/simt/shared_memory.hpp"

#include <deque>
#include <exception>
#include <functional>

namespace glint::simt {

struct Grid {
  int x = 1, y = 1, z = 1;
};

/// Mistakes to make on purpose, and how to run.
struct Options {
  int drop_barrier = -1;   ///< every thread passes its n-th barrier without waiting
  int drop_wait = -1;      ///< every thread goes on at its n-th wait for asynchronous copies
  int swap_fragment = -1;  ///< every warp exchanges two registers of A in its n-th matrix product
  bool reverse = false;    ///< run threads in the opposite order
  bool count_banks = true;
};

/// An instruction of the whole warp: carries it out given every lane's operands.
using WarpOperation = void (*)(void* const* lanes);

class Machine {
 public:
  static Machine& current() { return *running; }

  Machine(GlobalMemory& memory, std::size_t shared_bytes, int threads, const Options& options)
      : memory_(memory),
        shared_(shared_bytes),
        options_(options),
        threads_(static_cast<std::size_t>(threads)) {
    for (std::size_t i = 0; i < threads_.size(); ++i) {
      threads_[i].machine = this;
      threads_[i].index = static_cast<int>(i);
    }
    banks_.resize(threads_.size() / kWarp);
  }

  Report launch(Grid grid, const std::function<void()>& kernel) {
    Machine* outer = running;
    running = this;
    kernel_ = &kernel;
    try {
      for (at_.z = 0; at_.z < grid.z; ++at_.z)
        for (at_.y = 0; at_.y < grid.y; ++at_.y)
          for (at_.x = 0; at_.x < grid.x; ++at_.x, ++report_.blocks) run_block();
    } catch (...) {
      running = outer;
      memory_.settle();
      throw;
    }
    running = outer;
    memory_.settle();
    return report_;
  }

  // --- What the primitives call, on a thread's own stack.

  int thread() const { return now_->index; }
  Grid block() const { return at_; }
  Report& report() { return report_; }

  void read_global(const void* p, std::size_t bytes, const std::source_location& where) {
    memory_.check_read(p, bytes, static_cast<std::int32_t>(report_.blocks), where);
  }
  void write_global(const void* p, std::size_t bytes, const std::source_location& where) {
    memory_.check_write(p, bytes, static_cast<std::int32_t>(report_.blocks), where);
  }
  void read_shared(std::uint32_t at, void* to, std::uint32_t size, const std::source_location& where) {
    note(where, at, size);
    shared_.read(at, to, size, now_->index, where);
  }
  void write_shared(std::uint32_t at, const void* from, std::uint32_t size,
                    const std::source_location& where) {
    note(where, at, size);
    shared_.write(at, from, size, now_->index, where);
  }
  std::int32_t add_shared(std::uint32_t at, std::int32_t value, const std::source_location& where) {
    return shared_.add(at, value, now_->index, where);
  }
  /// The row of 16 bytes that this lane names for a matrix load.
  void read_matrix_row(std::uint32_t at, void* to, const std::source_location& where) {
    note(where, at, 16);
    shared_.read(at, to, 16, now_->index, where);
  }

  void copy_async(std::uint32_t to, const void* from, int bytes, const std::source_location& where) {
    note(where, to, 16);
    if (bytes > 0) read_global(from, 16, where);  // the hardware may read all 16
    shared_.begin_copy(to, 16, now_->index, where);
    now_->open.push_back({to, from, bytes});
    ++report_.copies;
  }
  void commit() {
    now_->groups.push_back(std::move(now_->open));
    now_->open.clear();
  }
  void wait(int pending) {
    if (now_->waits++ == options_.drop_wait) return;
    for (; static_cast<int>(now_->groups.size()) > pending; now_->groups.pop_front())
      for (const Copy& c : now_->groups.front()) {
        unsigned char data[16] = {};
        std::memcpy(data, c.from, static_cast<std::size_t>(c.bytes));
        shared_.finish_copy(c.to, data, 16, now_->index);
      }
  }

  void barrier(const std::source_location& where) {
    if (now_->barriers++ == options_.drop_barrier) return;
    now_->state = State::AtBarrier;
    now_->where = where;
    now_->fibre.suspend();
  }
  void warp_barrier(const std::source_location& where) {
    collective(where, nullptr, [](void* const*) {
      Machine& m = current();
      m.shared_.warp_barrier(m.now_->index / kWarp);
    });
  }
  void collective(const std::source_location& where, void* operands, WarpOperation operation) {
    Thread& t = *now_;
    t.operands = operands;
    t.state = State::InWarp;
    t.where = where;
    Thread* warp = &threads_[static_cast<std::size_t>(t.index / kWarp * kWarp)];
    void* lanes[kWarp];
    for (int i = 0; i < kWarp; ++i) {
      if (warp[i].state != State::InWarp) {
        t.fibre.suspend();
        return;
      }
      if (warp[i].where.line() != where.line() || warp[i].where.file_name() != where.file_name())
        throw Fault(FaultKind::Divergence,
                    "lanes of a warp at " + text(where) + " and " + text(warp[i].where));
      lanes[i] = warp[i].operands;
    }
    operation(lanes);
    for (int i = 0; i < kWarp; ++i) warp[i].state = State::Ready;
  }
  bool swaps_fragment() { return options_.swap_fragment >= 0 && now_->products++ == options_.swap_fragment; }

 private:
  enum class State { Ready, AtBarrier, InWarp, Done };
  struct Copy {
    std::uint32_t to;
    const void* from;
    int bytes;
  };
  struct Thread {
    Fibre fibre;
    Machine* machine = nullptr;
    int index = 0;
    State state = State::Ready;
    std::source_location where;
    void* operands = nullptr;
    int barriers = 0, waits = 0, products = 0;
    std::vector<Copy> open;
    std::deque<std::vector<Copy>> groups;
    std::exception_ptr error;
  };

  static void enter(void* argument) {
    auto* t = static_cast<Thread*>(argument);
    try {
      (*t->machine->kernel_)();
    } catch (...) {
      t->error = std::current_exception();
    }
    t->state = State::Done;
    t->fibre.suspend();
  }

  void run_block() {
    shared_.clear(static_cast<int>(banks_.size()));
    for (Thread& t : threads_) {
      t.state = State::Ready;
      t.barriers = t.waits = t.products = 0;
      t.open.clear();
      t.groups.clear();
      t.error = nullptr;
      t.fibre.start(&Machine::enter, &t);
    }
    while (run_ready()) release_barrier();
    for (BankMeter& b : banks_) b.settle(report_);
  }

  /// Runs every thread as far as it gets. Returns whether any is left.
  bool run_ready() {
    const std::size_t n = threads_.size();
    for (bool progress = true; progress;) {
      progress = false;
      for (std::size_t i = 0; i < n; ++i) {
        Thread& t = threads_[options_.reverse ? n - 1 - i : i];
        if (t.state != State::Ready) continue;
        progress = true;
        now_ = &t;
        t.fibre.resume();
        if (t.error) std::rethrow_exception(t.error);
      }
    }
    return std::any_of(threads_.begin(), threads_.end(),
                       [](const Thread& t) { return t.state != State::Done; });
  }

  void release_barrier() {
    for (const Thread& t : threads_) {
      if (t.state == State::InWarp)
        throw Fault(FaultKind::Divergence, "not all lanes of a warp reach " + text(t.where));
      if (t.state == State::Done || t.where.line() != threads_[0].where.line())
        throw Fault(FaultKind::Divergence, "not all threads of a block reach the barrier at " +
                                               text(t.state == State::Done ? threads_at_barrier() : t.where));
    }
    for (Thread& t : threads_) t.state = State::Ready;
    for (BankMeter& b : banks_) b.settle(report_);
    shared_.block_barrier();
    ++report_.barriers;
  }
  std::source_location threads_at_barrier() const {
    for (const Thread& t : threads_)
      if (t.state == State::AtBarrier) return t.where;
    return {};
  }

  void note(const std::source_location& where, std::uint32_t at, std::uint32_t size) {
    if (options_.count_banks)
      banks_[static_cast<std::size_t>(now_->index / kWarp)].note(where, now_->index % kWarp, at, size);
  }

  static inline thread_local Machine* running = nullptr;

  GlobalMemory& memory_;
  SharedMemory shared_;
  Options options_;
  std::vector<Thread> threads_;
  std::vector<BankMeter> banks_;
  Report report_;
  Grid at_;
  Thread* now_ = nullptr;
  const std::function<void()>* kernel_ = nullptr;
};

}  // namespace glint::simt
