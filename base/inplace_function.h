// A callable that never allocates.
#pragma once

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

namespace zerostream {

// Holds a callable `void()` of at most `Capacity` bytes inside itself. Movable, not copyable;
// calling an empty one is undefined. A callable that is too large does not compile.
template <size_t Capacity>
class InplaceFunction {
 public:
  InplaceFunction() = default;
  template <typename F>
  requires(!std::is_same_v<std::decay_t<F>, InplaceFunction>)
      InplaceFunction(F&& callable) {  // NOLINT: implicit, as std::function
    using Callable = std::decay_t<F>;
    static_assert(sizeof(Callable) <= Capacity && alignof(Callable) <= alignof(std::max_align_t));
    new (storage_) Callable(std::forward<F>(callable));
    call_ = [](void* self) { (*static_cast<Callable*>(self))(); };
    relocate_ = [](void* from, void* to) {
      if (to != nullptr) new (to) Callable(std::move(*static_cast<Callable*>(from)));
      static_cast<Callable*>(from)->~Callable();
    };
  }
  InplaceFunction(InplaceFunction&& other) noexcept { take(other); }
  InplaceFunction& operator=(InplaceFunction&& other) noexcept {
    if (this == &other) return *this;
    clear();
    take(other);
    return *this;
  }
  ~InplaceFunction() { clear(); }

  explicit operator bool() const { return call_ != nullptr; }
  void operator()() { call_(storage_); }

 private:
  void clear() {
    if (call_ != nullptr) relocate_(storage_, nullptr);
    call_ = nullptr;
  }
  void take(InplaceFunction& other) {
    if (other.call_ == nullptr) return;
    other.relocate_(other.storage_, storage_);
    call_ = std::exchange(other.call_, nullptr);
    relocate_ = other.relocate_;
  }

  alignas(std::max_align_t) std::byte storage_[Capacity];
  void (*call_)(void*) = nullptr;
  void (*relocate_)(void* from, void* to) = nullptr;
};

}  // namespace zerostream
