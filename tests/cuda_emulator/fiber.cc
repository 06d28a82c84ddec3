#include "tests/cuda_emulator/fiber.h"

#include <sys/mman.h>

#include <new>
#include <utility>
#include <vector>

#include "tests/cuda_emulator/sanitizers.h"

// Saves what a call must keep, stores the stack pointer in *from and goes on at `to`.
extern "C" void cuda_emulator_switch(void** from, void* to);
extern "C" void cuda_emulator_start();
asm(R"(
.text
.globl cuda_emulator_switch
.type cuda_emulator_switch, @function
cuda_emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size cuda_emulator_switch, . - cuda_emulator_switch
.globl cuda_emulator_start
.type cuda_emulator_start, @function
cuda_emulator_start:
  movq %rbx, %rdi
  call *%r12
  ud2
.size cuda_emulator_start, . - cuda_emulator_start
)");

namespace cuda_emulator {
namespace {

constexpr size_t kPageBytes = 4096;
constexpr size_t kStackBytes = kSanitized ? 256 << 10 : 64 << 10;

// Idle ones: to make one takes system calls, and ThreadSanitizer much longer.
thread_local std::vector<std::unique_ptr<Fiber>> spare_fibers;

}  // namespace

std::unique_ptr<Fiber> Fiber::take(Entry entry, void* argument) {
  std::unique_ptr<Fiber> fiber;
  if (spare_fibers.empty()) {
    fiber = std::make_unique<Fiber>();
  } else {
    fiber = std::move(spare_fibers.back());
    spare_fibers.pop_back();
  }
  fiber->entry_ = entry;
  fiber->argument_ = argument;
  return fiber;
}

void Fiber::give_back(std::unique_ptr<Fiber> fiber) {
  if (fiber->idle_) spare_fibers.push_back(std::move(fiber));
}

Fiber::Fiber() {
  void* map = mmap(nullptr, kStackBytes + kPageBytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (map == MAP_FAILED) throw std::bad_alloc();
  mprotect(map, kPageBytes, PROT_NONE);
  map_ = static_cast<std::byte*>(map);
  void** top = reinterpret_cast<void**>(map_ + kPageBytes + kStackBytes) - 2;
  *--top = reinterpret_cast<void*>(&cuda_emulator_start);
  *--top = nullptr;                                 // rbp
  *--top = this;                                    // rbx
  *--top = reinterpret_cast<void*>(&Fiber::start);  // r12
  for (int i = 0; i < 3; ++i) *--top = nullptr;     // r13 to r15
  inside_ = top;
  sanitizer_fiber_ = tsan_create_fiber();
}

Fiber::~Fiber() {
  tsan_join(sanitizer_fiber_);  // it may have been left in the middle of a call
  tsan_destroy_fiber(sanitizer_fiber_);
  asan_allow(map_, kStackBytes + kPageBytes);  // what lies here next is something else
  munmap(map_, kStackBytes + kPageBytes);
}

void Fiber::enter() {
  void* fake_stack = nullptr;
  sanitizer_thread_ = tsan_current_fiber();
  asan_start_switch(&fake_stack, map_ + kPageBytes, kStackBytes);
  tsan_switch_to(sanitizer_fiber_);
  cuda_emulator_switch(&outside_, inside_);
  asan_finish_switch(fake_stack, nullptr, nullptr);
}

void Fiber::leave() {
  void* fake_stack = nullptr;
  asan_start_switch(&fake_stack, thread_stack_, thread_stack_bytes_);
  tsan_switch_to(sanitizer_thread_);
  cuda_emulator_switch(&inside_, outside_);
  asan_finish_switch(fake_stack, &thread_stack_, &thread_stack_bytes_);
}

void Fiber::start(Fiber* self) {
  asan_finish_switch(nullptr, &self->thread_stack_, &self->thread_stack_bytes_);
  for (;;) {
    self->idle_ = false;
    self->entry_(self->argument_);
    self->idle_ = true;
    self->leave();
  }
}

}  // namespace cuda_emulator
