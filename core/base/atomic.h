// Atomic variables whose operations carry their memory order in the name, so that no order is ever
// a default and every order can be found by grep (Go's internal/runtime/atomic does the same).
// Freestanding: compiler builtins only, header only, usable in constinit globals and in raw zeroed
// memory. No state of its own; safe on every stack, signal handlers included.
//
// Lock-free algorithms are templates on `class Atom` (folly's idiom). RealAtom below is what ships;
// ModelAtom (tests/model/checker.h) has the same surface and lets the interleaving checker run the
// very same code. If you add an operation here, add it there.
//
// On x86-64 a locked operation is a full barrier whatever its name says, and loads and stores come
// with acquire and release for free: the name tells the compiler, the reader and the checker which
// order the algorithm needs. There is no sequentially consistent load: it would say nothing that
// storeSeqCst or fenceSeqCst on the writing side does not.
#pragma once

#include <stdint.h>

namespace graft::base {

// Integers, enums, bool and pointers of up to eight bytes; fetch operations on integers only.
template <class T>
class Atomic {
  static_assert(sizeof(T) <= 8 && __atomic_always_lock_free(sizeof(T), nullptr));

 public:
  constexpr Atomic() = default;
  constexpr Atomic(T v) : v_(v) {}
  Atomic(const Atomic&) = delete;
  Atomic& operator=(const Atomic&) = delete;

  T loadRelaxed() const { return load<__ATOMIC_RELAXED>(); }
  T loadAcquire() const { return load<__ATOMIC_ACQUIRE>(); }

  void storeRelaxed(T v) { __atomic_store(&v_, &v, __ATOMIC_RELAXED); }
  void storeRelease(T v) { __atomic_store(&v_, &v, __ATOMIC_RELEASE); }
  void storeSeqCst(T v) { __atomic_store(&v_, &v, __ATOMIC_SEQ_CST); }

  T exchangeRelaxed(T v) { return exchange<__ATOMIC_RELAXED>(v); }
  T exchangeAcquire(T v) { return exchange<__ATOMIC_ACQUIRE>(v); }
  T exchangeRelease(T v) { return exchange<__ATOMIC_RELEASE>(v); }
  T exchangeAcqRel(T v) { return exchange<__ATOMIC_ACQ_REL>(v); }

  // Strong compare and swap; a failure loads what was found into `expected`, with acquire order
  // where the success has it.
  bool casRelaxed(T& expected, T desired) {
    return cas<__ATOMIC_RELAXED, __ATOMIC_RELAXED>(expected, desired);
  }
  bool casAcquire(T& expected, T desired) {
    return cas<__ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE>(expected, desired);
  }
  bool casRelease(T& expected, T desired) {
    return cas<__ATOMIC_RELEASE, __ATOMIC_RELAXED>(expected, desired);
  }
  bool casAcqRel(T& expected, T desired) {
    return cas<__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE>(expected, desired);
  }

  // All fetch operations return the value before.
  T fetchAddRelaxed(T d) { return __atomic_fetch_add(&v_, d, __ATOMIC_RELAXED); }
  T fetchAddAcquire(T d) { return __atomic_fetch_add(&v_, d, __ATOMIC_ACQUIRE); }
  T fetchAddRelease(T d) { return __atomic_fetch_add(&v_, d, __ATOMIC_RELEASE); }
  T fetchAddAcqRel(T d) { return __atomic_fetch_add(&v_, d, __ATOMIC_ACQ_REL); }

  T fetchSubRelaxed(T d) { return __atomic_fetch_sub(&v_, d, __ATOMIC_RELAXED); }
  T fetchSubAcquire(T d) { return __atomic_fetch_sub(&v_, d, __ATOMIC_ACQUIRE); }
  T fetchSubRelease(T d) { return __atomic_fetch_sub(&v_, d, __ATOMIC_RELEASE); }
  T fetchSubAcqRel(T d) { return __atomic_fetch_sub(&v_, d, __ATOMIC_ACQ_REL); }

  T fetchOrRelaxed(T bits) { return __atomic_fetch_or(&v_, bits, __ATOMIC_RELAXED); }
  T fetchOrRelease(T bits) { return __atomic_fetch_or(&v_, bits, __ATOMIC_RELEASE); }
  T fetchOrAcqRel(T bits) { return __atomic_fetch_or(&v_, bits, __ATOMIC_ACQ_REL); }

  T fetchAndRelaxed(T bits) { return __atomic_fetch_and(&v_, bits, __ATOMIC_RELAXED); }
  T fetchAndRelease(T bits) { return __atomic_fetch_and(&v_, bits, __ATOMIC_RELEASE); }
  T fetchAndAcqRel(T bits) { return __atomic_fetch_and(&v_, bits, __ATOMIC_ACQ_REL); }

 private:
  // The generic builtins: clang takes no enums in those that end in _n.
  template <int kOrder>
  T load() const {
    T v;
    __atomic_load(&v_, &v, kOrder);
    return v;
  }
  template <int kOrder>
  T exchange(T v) {
    T old;
    __atomic_exchange(&v_, &v, &old, kOrder);
    return old;
  }
  template <int kSuccess, int kFailure>
  bool cas(T& expected, T desired) {
    return __atomic_compare_exchange(&v_, &expected, &desired, false, kSuccess, kFailure);
  }

  T v_{};
};

// ThreadSanitizer does not model fences, which gcc says at each of them. It loses nothing here: all
// that our fences order is atomic itself, and their meaning is the model checker's business.
#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wtsan"
#endif
inline void fenceAcquire() { __atomic_thread_fence(__ATOMIC_ACQUIRE); }
inline void fenceRelease() { __atomic_thread_fence(__ATOMIC_RELEASE); }
inline void fenceSeqCst() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

// Orders this thread's accesses against its own signal handler (and against the instant at which a
// handler may stop it); no instruction.
inline void compilerBarrier() { asm volatile("" ::: "memory"); }

// The body of a spin loop: tells the processor that it waits.
inline void cpuRelax() { asm volatile("pause" ::: "memory"); }

// The policy that ships. A template on `class Atom` names `typename Atom::template Atomic<T>` and
// calls the fences through Atom, never directly.
struct RealAtom {
  template <class T>
  using Atomic = base::Atomic<T>;

  static void fenceAcquire() { base::fenceAcquire(); }
  static void fenceRelease() { base::fenceRelease(); }
  static void fenceSeqCst() { base::fenceSeqCst(); }
  static void cpuRelax() { base::cpuRelax(); }
};

// What a thread did before it ended is seen by whoever learns from the kernel that it has ended; a
// race detector knows nothing of that. `p` names what they share. Nothing outside such builds.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define GRAFT_TELL_TSAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define GRAFT_TELL_TSAN 1
#endif
#if defined(GRAFT_TELL_TSAN)
extern "C" void __tsan_acquire(void* p);
extern "C" void __tsan_release(void* p);
inline void threadMayEnd(void* p) { __tsan_release(p); }
inline void threadHasEnded(void* p) { __tsan_acquire(p); }
#undef GRAFT_TELL_TSAN
#else
inline void threadMayEnd(void*) {}
inline void threadHasEnded(void*) {}
#endif

}  // namespace graft::base
