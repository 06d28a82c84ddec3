// Stacks that a thread switches between by itself.
#pragma once

#include <cstddef>

namespace cuda_emulator {

// A stack of its own on which `entry(argument)` runs; entry must never return. A guard page lies
// below the stack. What rests on the stack when the fiber goes is forgotten, not destroyed.
//
// Threads: the one that made it. Sanitizers are told of every switch.
class Fiber {
 public:
  Fiber(void (*entry)(void*), void* argument);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Called outside: runs the fiber until it calls leave().
  void enter();
  // Called inside: goes back to where enter() was called.
  void leave();

 private:
  static void start(Fiber* self);

  void (*const entry_)(void*);
  void* const argument_;
  std::byte* map_ = nullptr;
  void* inside_ = nullptr;   // stack pointer of the fiber while it rests
  void* outside_ = nullptr;  // stack pointer of the thread while the fiber runs

  // What the sanitizers know of both sides; null without them.
  void* sanitizer_fiber_ = nullptr;
  void* sanitizer_thread_ = nullptr;
  const void* thread_stack_ = nullptr;
  size_t thread_stack_bytes_ = 0;
};

}  // namespace cuda_emulator
