// Stacks that a thread switches between by itself.
#pragma once

#include <cstddef>
#include <memory>

namespace cuda_emulator {

// A stack of its own for calls of functions that can be left and entered again. A guard page lies
// below the stack. What rests on the stack when the fiber goes is forgotten, not destroyed.
//
// Threads: the one that made it. Sanitizers are told of every switch; to ThreadSanitizer it orders
// no memory.
class Fiber {
 public:
  using Entry = void (*)(void*);

  // One that is idle, with `entry` and `argument` for its next calls: a new one, or one that was
  // given back by this thread.
  static std::unique_ptr<Fiber> take(Entry entry, void* argument);
  // To be taken again if it is idle, else destroyed.
  static void give_back(std::unique_ptr<Fiber> fiber);

  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Called outside: goes on with the call that was left, or if there is none calls
  // entry(argument). Returns when that leaves or returns.
  void enter();
  // Called inside: goes back to where enter() was called.
  void leave();

 private:
  static void start(Fiber* self);

  Entry entry_ = nullptr;
  void* argument_ = nullptr;
  bool idle_ = true;
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
