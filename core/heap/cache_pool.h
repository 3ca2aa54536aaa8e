// Who holds which mcache in native-thread mode. The number of caches is bounded: threads beyond
// it share a few locked ones. A thread never has to say that it ends: its cache is found again
// when a new thread gets the same thread pointer (glibc recycles stacks and TLS), or when a new
// thread or the scavenger looks and the kernel no longer knows the owner's tid. So graft needs
// no pthread key (programs use all 1024), no exit hook and no loader lock inside malloc.
//
// Locks, outermost first: SharedCache::mu, mu_, then what draining a cache takes (class, page
// heap).
#pragma once

#include "core/heap/arena.h"
#include "core/heap/mcache.h"
#include "core/os/mem.h"
#include "core/os/mutex.h"

namespace graft::heap {

inline constexpr size_t kSharedCaches = 8;
// Values of owner_tp that are no thread's; 0: nobody's.
inline constexpr uintptr_t kSharedOwner = 1;
inline constexpr uintptr_t kMachineOwner = 2;  // of the scheduler, which gives it back itself

struct SharedCache {
  os::Mutex mu;
  MCache* cache GRAFT_GUARDED_BY(mu) = nullptr;
};

class CachePool {
 public:
  void init(AddressSpace& as, size_t max_caches, uint64_t key);

  // A cache for the calling thread, its own from now on; nullptr when all are taken. It may hold
  // slots that its former owner left; `prepare` sees it before anyone counts it as owned.
  template <class F>
  MCache* acquire(uintptr_t thread_pointer, uint32_t tid, F prepare) {
    os::Lock lock(mu_);
    MCache* c = pick(thread_pointer);
    if (c == nullptr) return nullptr;
    prepare(*c);
    c->owner_tid.storeRelaxed(tid);
    c->owner_tp.storeRelease(thread_pointer);
    return c;
  }
  MCache* acquire(uintptr_t thread_pointer, uint32_t tid) {
    return acquire(thread_pointer, tid, [](MCache&) {});
  }
  // The owner has no use for it any more; its slots stay in it for the next one.
  void release(MCache* c) {
    os::Lock lock(mu_);
    releaseLocked(c);
  }
  // The locked cache for a thread without one of its own; its `cache` may be null (no memory).
  SharedCache& shared(uintptr_t thread_pointer);
  MCache* cacheOfShared(SharedCache& s) GRAFT_REQUIRES(s.mu);

  // Hands every cache whose owner has ended to `drain` and makes it free; returns how many.
  template <class F>
  size_t reapDead(F drain) {
    os::Lock lock(mu_);
    size_t reaped = 0;
    for (size_t i = 0; i < made_; i++) {
      MCache* c = at(i);
      if (c->owner_tp.loadRelaxed() <= kMachineOwner || !isDead(c)) continue;
      drain(*c);
      c->shrink();
      releaseLocked(c);
      // All but the head: a program may have had hundreds of threads once and never again.
      Addr slots = roundUp(reinterpret_cast<Addr>(c->slots), kOsPage);
      os::purge(slots, reinterpret_cast<Addr>(c) + cacheBytes() - slots);
      c->bare = true;
      reaped++;
    }
    return reaped;
  }
  // Every cache ever made; racy unless the world is stopped or the caller owns them all.
  template <class F>
  void forEach(F f) {
    size_t n = made_published_.loadAcquire();
    for (size_t i = 0; i < n; i++) f(*at(i));
  }
  // fork child: `mine` (may be null) is the calling thread's from now on, all others are forgotten.
  void forkChild(MCache* mine, uint32_t tid);

  os::Mutex& mutex() GRAFT_RETURNS_LOCK(mu_) { return mu_; }
  SharedCache& sharedAt(size_t i) { return shared_[i]; }
  size_t made() const { return made_published_.loadAcquire(); }
  size_t owned();
  size_t limit() const { return max_; }
  static size_t cacheBytes() { return roundUp(sizeof(MCache), kOsPage); }

 private:
  MCache* at(size_t i) const { return reinterpret_cast<MCache*>(base_ + i * cacheBytes()); }
  MCache* make() GRAFT_REQUIRES(mu_);
  MCache* pick(uintptr_t thread_pointer) GRAFT_REQUIRES(mu_);
  static bool isDead(MCache* c);
  void releaseLocked(MCache* c) GRAFT_REQUIRES(mu_);

  os::Mutex mu_;
  AddressSpace* as_ = nullptr;
  Addr base_ = 0;
  uint64_t key_ = 0;
  size_t max_ = 0;
  size_t made_ GRAFT_GUARDED_BY(mu_) = 0;
  size_t shared_made_ GRAFT_GUARDED_BY(mu_) = 0;
  base::Atomic<size_t> made_published_{0};
  MCache* free_ GRAFT_GUARDED_BY(mu_) = nullptr;
  uint32_t failed_acquires_ GRAFT_GUARDED_BY(mu_) = 0;
  size_t next_look_ GRAFT_GUARDED_BY(mu_) = 0;
  SharedCache shared_[kSharedCaches];
};

}  // namespace graft::heap
