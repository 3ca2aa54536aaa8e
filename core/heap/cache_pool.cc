// Giving out, finding again and reclaiming mcaches; see cache_pool.h. Slow path of any thread.
#include "core/heap/cache_pool.h"

#include "core/os/sys.h"

namespace graft::heap {

void CachePool::init(AddressSpace& as, size_t max_caches, uint64_t key) {
  as_ = &as;
  base_ = as.caches().base();
  max_ = max_caches;
  key_ = key;
}

MCache* CachePool::make() {
  size_t i = made_;
  if ((i + 1) * cacheBytes() > as_->caches().size()) return nullptr;
  if (!as_->caches().ensure((i + 1) * cacheBytes())) return nullptr;
  MCache* c = at(i);
  c->init(static_cast<uint32_t>(i), {key_, as_->base(), as_->map()});
  made_published_.storeRelease(++made_);
  return c;
}

bool CachePool::isDead(MCache* c) {
  // tkill, not tgkill: a raw clone without CLONE_THREAD shares our memory but not our pid.
  constexpr long kNoSuchThread = -3;  // ESRCH
  if (os::sys(SYS_tkill, static_cast<long>(c->owner_tid.loadRelaxed()), 0) != kNoSuchThread)
    return false;
  base::threadHasEnded(c);
  return true;
}

void CachePool::releaseLocked(MCache* c) {
  c->owner_tp.storeRelaxed(0);
  c->next_free = free_;
  free_ = c;
}

MCache* CachePool::pick(uintptr_t thread_pointer) {
  MCache* c = nullptr;
  // A thread pointer belongs to one living thread, and this thread has no cache: whoever is
  // registered under it has ended.
  bool thread = thread_pointer > kMachineOwner;
  for (size_t i = 0; thread && i < made_ && c == nullptr; i++) {
    if (at(i)->owner_tp.loadRelaxed() == thread_pointer) c = at(i);
  }
  // A program that starts a thread when another ends would else leave caches behind, each full.
  constexpr size_t kLooks = 4;
  for (size_t i = 0; i < kLooks && i < made_ && c == nullptr; i++) {
    MCache* other = at(next_look_++ % made_);
    if (other->owner_tp.loadRelaxed() > kMachineOwner && isDead(other)) c = other;
  }
  if (c == nullptr && free_ != nullptr) {
    c = free_;
    free_ = c->next_free;
    if (c->bare) c->shrink();
    c->bare = false;
  }
  if (c == nullptr && made_ - shared_made_ < max_) c = make();
  // Asking the kernel about every owner is worth it only now and then.
  if (c == nullptr && failed_acquires_++ % 64 == 0) {
    for (size_t i = 0; i < made_ && c == nullptr; i++) {
      if (at(i)->owner_tp.loadRelaxed() > kMachineOwner && isDead(at(i))) c = at(i);
    }
  }
  return c;
}

SharedCache& CachePool::shared(uintptr_t thread_pointer) {
  // Thread pointers differ in the bits of a stack size; any mixing will do.
  uint64_t h = (thread_pointer >> 12) * 0x9e3779b97f4a7c15u;
  return shared_[h >> 61];
}
static_assert(kSharedCaches == 8);

MCache* CachePool::cacheOfShared(SharedCache& s) {
  if (s.cache == nullptr) {
    os::Lock lock(mu_);
    s.cache = make();
    if (s.cache != nullptr) {
      s.cache->owner_tp.storeRelaxed(kSharedOwner);
      shared_made_++;
    }
  }
  return s.cache;
}

size_t CachePool::owned() {
  os::Lock lock(mu_);
  size_t n = 0;
  for (size_t i = 0; i < made_; i++) n += at(i)->owner_tp.loadRelaxed() > kSharedOwner;
  return n;
}

void CachePool::forkChild(MCache* mine, uint32_t tid) {
  // What other threads had cached may have been popped while the kernel copied the pages: those
  // slots stay handed out in the child, bounded by what a cache holds.
  os::Lock lock(mu_);
  free_ = nullptr;
  for (size_t i = 0; i < made_; i++) {
    MCache* c = at(i);
    if (c->owner_tp.loadRelaxed() == kSharedOwner) continue;  // was locked during the fork
    if (c == mine) {
      c->owner_tp.storeRelaxed(os::threadPointer());
      c->owner_tid.storeRelaxed(tid);
      continue;
    }
    if (c->owner_tp.loadRelaxed() != 0) c->dropAll();
    releaseLocked(c);
  }
}

}  // namespace graft::heap
