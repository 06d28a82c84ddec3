// What the sanitizers must be told by the emulator; nothing in a build without them.
#pragma once

#include <cstddef>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CUDA_EMULATOR_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define CUDA_EMULATOR_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define CUDA_EMULATOR_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define CUDA_EMULATOR_TSAN 1
#endif

#ifdef CUDA_EMULATOR_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef CUDA_EMULATOR_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace cuda_emulator {

#ifdef CUDA_EMULATOR_ASAN
inline void asan_start_switch(void** fake, const void* stack, size_t bytes) {
  __sanitizer_start_switch_fiber(fake, stack, bytes);
}
inline void asan_finish_switch(void* fake, const void** stack, size_t* bytes) {
  __sanitizer_finish_switch_fiber(fake, stack, bytes);
}
inline void asan_forbid(const void* data, size_t bytes) {
  __asan_poison_memory_region(data, bytes);
}
inline void asan_allow(const void* data, size_t bytes) {
  __asan_unpoison_memory_region(data, bytes);
}
inline constexpr bool kAsan = true;
#else
inline void asan_start_switch(void**, const void*, size_t) {}
inline void asan_finish_switch(void*, const void**, size_t*) {}
inline void asan_forbid(const void*, size_t) {}
inline void asan_allow(const void*, size_t) {}
inline constexpr bool kAsan = false;
#endif

// Fibers are threads to ThreadSanitizer, and a switch between them orders nothing: memory is
// ordered where CUDA says so, by a point that some release and others then acquire.
#ifdef CUDA_EMULATOR_TSAN
inline void* tsan_create_fiber() { return __tsan_create_fiber(0); }
inline void tsan_destroy_fiber(void* fiber) { __tsan_destroy_fiber(fiber); }
inline void* tsan_current_fiber() { return __tsan_get_current_fiber(); }
inline void tsan_switch_to(void* fiber) {
  __tsan_switch_to_fiber(fiber, __tsan_switch_to_fiber_no_sync);
}
// Orders what a fiber did before what the caller does from now on.
inline void tsan_join(void* fiber) {
  void* caller = __tsan_get_current_fiber();
  tsan_switch_to(fiber);
  __tsan_switch_to_fiber(caller, 0);
}
inline void tsan_release(void* point) { __tsan_release(point); }
inline void tsan_acquire(void* point) { __tsan_acquire(point); }
inline constexpr bool kTsan = true;
#else
inline void* tsan_create_fiber() { return nullptr; }
inline void tsan_destroy_fiber(void*) {}
inline void* tsan_current_fiber() { return nullptr; }
inline void tsan_switch_to(void*) {}
inline void tsan_join(void*) {}
inline void tsan_release(void*) {}
inline void tsan_acquire(void*) {}
inline constexpr bool kTsan = false;
#endif

inline constexpr bool kSanitized = kAsan || kTsan;

}  // namespace cuda_emulator
