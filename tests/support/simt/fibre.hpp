// A stack of its own for each emulated thread, and the switch between stacks.
//
// On x86-64 a switch saves six registers and takes a few nanoseconds. Elsewhere it is ucontext's, which costs
// a system call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace glint::simt {

#if defined(__x86_64__)
/// Saves the callee's registers and the stack pointer to *save, continues on the stack `load`.
__attribute__((naked, noinline)) inline void switch_stack(void** /*save*/, void* /*load*/) {
  __asm__(
      "pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
      "movq %rsp, (%rdi)\n movq %rsi, %rsp\n"
      "popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n"
      "ret\n");
}
/// Where a new stack is switched to: calls r12 with rbx.
__attribute__((naked, noinline)) inline void first_entry() {
  __asm__("movq %rbx, %rdi\n callq *%r12\n ud2\n");
}
#endif

/// One emulated thread's stack. `enter(argument)` runs on it from resume() on, and must not return.
class Fibre {
 public:
  static constexpr std::size_t kStackBytes = 128 << 10;

  Fibre() : stack_(new char[kStackBytes]) {}  // untouched pages cost nothing

  void start(void (*enter)(void*), void* argument) {
    enter_ = enter;
    argument_ = argument;
#if defined(__x86_64__)
    const auto top = reinterpret_cast<std::uintptr_t>(stack_.get() + kStackBytes) & ~std::uintptr_t{15};
    auto* slot = reinterpret_cast<void**>(top) - 3;  // aligned as the calls in first_entry() need it
    *slot = reinterpret_cast<void*>(&first_entry);
    for (int i = 0; i < 6; ++i) *--slot = nullptr;
    slot[3] = reinterpret_cast<void*>(&Fibre::begin);  // popped into r12
    slot[4] = this;                                    // popped into rbx
    inside_ = slot;
#else
    getcontext(&inside_);
    inside_.uc_stack.ss_sp = stack_.get();
    inside_.uc_stack.ss_size = kStackBytes;
    inside_.uc_link = nullptr;
    const auto self = reinterpret_cast<std::uintptr_t>(this);
    makecontext(&inside_, reinterpret_cast<void (*)()>(&Fibre::begin), 2, static_cast<unsigned>(self >> 32),
                static_cast<unsigned>(self));
#endif
  }

  /// Runs the fibre until it calls suspend().
  void resume() {
#if defined(__SANITIZE_ADDRESS__)
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, stack_.get(), kStackBytes);
#endif
#if defined(__x86_64__)
    switch_stack(&outside_, inside_);
#else
    swapcontext(&outside_, &inside_);
#endif
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
  }

  /// Continues after resume(). Called on the fibre.
  void suspend() {
#if defined(__SANITIZE_ADDRESS__)
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, host_stack_, host_bytes_);
#endif
#if defined(__x86_64__)
    switch_stack(&inside_, outside_);
#else
    swapcontext(&inside_, &outside_);
#endif
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake, &host_stack_, &host_bytes_);
#endif
  }

 private:
  void run() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &host_stack_, &host_bytes_);
#endif
    enter_(argument_);
    __builtin_trap();
  }
#if defined(__x86_64__)
  static void begin(Fibre* self) { self->run(); }
  void *inside_ = nullptr, *outside_ = nullptr;
#else
  static void begin(unsigned high, unsigned low) {
    reinterpret_cast<Fibre*>(std::uintptr_t{high} << 32 | low)->run();
  }
  ucontext_t inside_{}, outside_{};
#endif
  void (*enter_)(void*) = nullptr;
  void* argument_ = nullptr;
#if defined(__SANITIZE_ADDRESS__)
  const void* host_stack_ = nullptr;
  std::size_t host_bytes_ = 0;
#endif
  std::unique_ptr<char[]> stack_;
};

}  // namespace glint::simt
