// Objects that are never given back: one reserved range per type, committed step by step, so that
// an address once handed out names an object of that type for ever and objects can be counted
// through by index. The scheduler's G, M and P live in such pools: stale pointers to them stay
// harmless.
//
// make(): under the scheduler's lock. at(), made(): any stack, no lock.
#pragma once

#include <new>

#include "core/base/atomic.h"
#include "core/os/mem.h"

namespace graft::sched {

template <class T, size_t kMax>
class Pool {
 public:
  constexpr Pool() = default;

  // nullptr: no memory, or all kMax are made.
  T* make() {
    size_t n = made_.loadRelaxed();
    if (n == kMax) return nullptr;
    if (base_ == 0 && (base_ = os::reserve(roundUp(kMax * sizeof(T), kOsPage), 0)) == 0) {
      return nullptr;
    }
    while (committed_ < (n + 1) * sizeof(T)) {
      size_t end = roundUp(kMax * sizeof(T), kOsPage);
      size_t step = committed_ == 0 ? 16_KiB : committed_;  // doubles: few mprotect calls
      if (step > end - committed_) step = end - committed_;
      if (!os::commit(base_ + committed_, step)) return nullptr;
      committed_ += step;
    }
    T* t = new (reinterpret_cast<void*>(base_ + n * sizeof(T))) T();
    made_.storeRelease(n + 1);
    return t;
  }
  // Of a pool that nobody will use again (fork's child).
  void release() {
    if (base_ != 0) os::release(base_, roundUp(kMax * sizeof(T), kOsPage));
    base_ = 0;
  }
  T& at(size_t i) const { return *reinterpret_cast<T*>(base_ + i * sizeof(T)); }
  bool holds(const T* t) const {
    size_t off = reinterpret_cast<Addr>(t) - base_;
    return t != nullptr && off < made() * sizeof(T) && off % sizeof(T) == 0;
  }
  size_t made() const { return made_.loadAcquire(); }

 private:
  Addr base_ = 0;
  size_t committed_ = 0;
  base::Atomic<size_t> made_{0};
};

}  // namespace graft::sched
