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

// A switch orders memory for ThreadSanitizer: races inside a block do not show, those between
// streams, and between streams and host, do.
#ifdef CUDA_EMULATOR_TSAN
inline void* tsan_create_fiber() { return __tsan_create_fiber(0); }
inline void tsan_destroy_fiber(void* fiber) { __tsan_destroy_fiber(fiber); }
inline void* tsan_current_fiber() { return __tsan_get_current_fiber(); }
inline void tsan_switch_to(void* fiber) { __tsan_switch_to_fiber(fiber, 0); }
inline constexpr bool kTsan = true;
#else
inline void* tsan_create_fiber() { return nullptr; }
inline void tsan_destroy_fiber(void*) {}
inline void* tsan_current_fiber() { return nullptr; }
inline void tsan_switch_to(void*) {}
inline constexpr bool kTsan = false;
#endif

inline constexpr bool kSanitized = kAsan || kTsan;

}  // namespace cuda_emulator
