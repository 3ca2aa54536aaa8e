// Classes, chunks and free lists of thread slots; see stack_pool.h. A chunk is a mapping of equal
// slots that are handed out in order of address; each class keeps two lists of slots that came
// back, warm ones and ones whose pages were given back.
#include "shims/glibc/stack_pool.h"

#include "core/base/atomic.h"
#include "core/base/bits.h"
#include "core/base/capability.h"
#include "core/base/check.h"
#include "core/base/types.h"
#include "core/os/mem.h"
#include "core/os/mutex.h"

namespace graft::glibc {
namespace {

constexpr size_t kMinStackShift = 14;  // PTHREAD_STACK_MIN
constexpr size_t kMaxStackShift = 44;
constexpr size_t kClasses = kMaxStackShift - kMinStackShift + 2;  // class 0: only the top
constexpr size_t kChunks = 32;
constexpr size_t kFirstChunkSlots = 16;
constexpr size_t kGuard = kOsPage;

struct Chunk {
  uintptr_t low = 0;
  size_t slots = 0;
};

struct SizeClass {
  os::Mutex mu;
  ThreadBlock* warm GRAFT_GUARDED_BY(mu) = nullptr;
  ThreadBlock* clean GRAFT_GUARDED_BY(mu) = nullptr;
  Chunk chunks[kChunks] GRAFT_GUARDED_BY(mu);
  size_t chunk_count GRAFT_GUARDED_BY(mu) = 0;
  size_t used_in_last GRAFT_GUARDED_BY(mu) = 0;  // slots of the last chunk that were handed out
  // fork child: slots up to (scan_chunk_end, scan_slot_end) may belong to threads that are no more.
  size_t scan_chunk GRAFT_GUARDED_BY(mu) = 0;
  size_t scan_slot GRAFT_GUARDED_BY(mu) = 0;
  size_t scan_chunk_end GRAFT_GUARDED_BY(mu) = 0;
  size_t scan_slot_end GRAFT_GUARDED_BY(mu) = 0;
  BlockStats stats GRAFT_GUARDED_BY(mu) = {};
};

constinit SizeClass classes[kClasses];
constinit size_t top_size = 0;
constinit base::Atomic<uint32_t> fork_epoch{1};
constinit base::Atomic<uint64_t> mprotect_guards{0};
constinit base::Atomic<uint32_t> no_markers{0};  // the kernel refused a guard marker once

size_t stackOf(size_t cls) { return cls == 0 ? 0 : size_t{1} << (kMinStackShift + cls - 1); }
size_t strideOf(size_t cls) { return (cls == 0 ? 0 : kGuard + stackOf(cls)) + top_size; }

size_t classFor(size_t stack, size_t guard) {
  if (stack == 0) return 0;
  size_t need = stack + (guard > kGuard ? roundUp(guard, kOsPage) - kGuard : 0);
  if (need <= size_t{1} << kMinStackShift) return 1;
  return base::highestBit(need - 1) + 1 - kMinStackShift + 1;
}

ThreadBlock* blockAt(uintptr_t slot_low, size_t cls) {
  return reinterpret_cast<ThreadBlock*>(slot_low + strideOf(cls) - sizeof(ThreadBlock));
}
uintptr_t lowOf(const ThreadBlock* b) {
  return reinterpret_cast<uintptr_t>(b) + sizeof(ThreadBlock) - strideOf(b->size_class);
}

bool setGuard(ThreadBlock* b, uintptr_t at, size_t size) {
  bool denied = base::isDenied(base::Capability::guard_install);
  if (!denied && no_markers.loadRelaxed() == 0 && !b->guard_by_mprotect) {
    if (os::installGuard(at, size)) return true;
    no_markers.storeRelaxed(1);
  }
  if (!b->guard_by_mprotect) mprotect_guards.fetchAddRelaxed(1);
  b->guard_by_mprotect = true;
  return os::protect(at, size);
}

// The guard region must cover `guard` bytes from the bottom and leave `stack` bytes above it.
bool fitGuard(ThreadBlock* b, size_t stack, size_t guard) {
  if (b->size_class == 0) return true;
  uintptr_t low = lowOf(b);
  size_t want = roundUp(guard > kGuard ? guard : kGuard, kOsPage);
  size_t most = kGuard + stackOf(b->size_class) - stack;
  if (b->guard_installed < want) {
    if (!setGuard(b, low + b->guard_installed, want - b->guard_installed)) return false;
    b->guard_installed = want;
  } else if (b->guard_installed > most) {
    size_t extra = b->guard_installed - want;
    bool gone =
        b->guard_by_mprotect ? os::commit(low + want, extra) : os::removeGuard(low + want, extra);
    if (!gone) return false;
    b->guard_installed = want;
  }
  return true;
}

bool addChunk(SizeClass& c, size_t cls) GRAFT_REQUIRES(c.mu) {
  if (c.chunk_count == kChunks) return false;
  size_t slots = kFirstChunkSlots << c.chunk_count;
  for (; slots != 0; slots /= 2) {
    size_t bytes;
    if (__builtin_mul_overflow(slots, strideOf(cls), &bytes)) continue;
    uintptr_t low = os::reserve(bytes, 0);
    if (low == 0) continue;
    if (!os::commit(low, bytes)) {
      os::release(low, bytes);
      continue;
    }
    os::noHugePages(low, bytes);
    c.chunks[c.chunk_count] = {low, slots};
    // In this order: a fork between the two loses fresh slots and hands none out twice.
    c.chunk_count++;
    base::compilerBarrier();
    c.used_in_last = 0;
    return true;
  }
  return false;
}

ThreadBlock* freshSlot(SizeClass& c, size_t cls) GRAFT_REQUIRES(c.mu) {
  if (c.chunk_count == 0 || c.used_in_last == c.chunks[c.chunk_count - 1].slots) {
    if (!addChunk(c, cls)) return nullptr;
  }
  uintptr_t low = c.chunks[c.chunk_count - 1].low + c.used_in_last++ * strideOf(cls);
  ThreadBlock* b = blockAt(low, cls);
  b->size_class = static_cast<uint8_t>(cls);  // the rest is zero
  c.stats.slots++;
  return b;
}

// fork child: the next slot that a thread of the parent had.
ThreadBlock* scanForgotten(SizeClass& c, size_t cls) GRAFT_REQUIRES(c.mu) {
  uint32_t epoch = fork_epoch.loadRelaxed();
  while (c.scan_chunk < c.scan_chunk_end) {
    bool last = c.scan_chunk + 1 == c.scan_chunk_end;
    size_t end = last ? c.scan_slot_end : c.chunks[c.scan_chunk].slots;
    if (c.scan_slot >= end) {
      c.scan_chunk++;
      c.scan_slot = 0;
      continue;
    }
    ThreadBlock* b = blockAt(c.chunks[c.scan_chunk].low + c.scan_slot++ * strideOf(cls), cls);
    if (b->fork_epoch == epoch) continue;
    b->size_class = static_cast<uint8_t>(cls);  // fork may have come before freshSlot wrote it
    return b;
  }
  return nullptr;
}

ThreadBlock* takeSlot(SizeClass& c, size_t cls) {
  os::Lock lock(c.mu);
  ThreadBlock* b = c.warm;
  if (b != nullptr) {
    c.warm = b->next;
  } else if ((b = c.clean) != nullptr) {
    c.clean = b->next;
  }
  if (b != nullptr) c.stats.idle--;
  if (b == nullptr) b = scanForgotten(c, cls);
  if (b == nullptr) return freshSlot(c, cls);
  c.stats.recycled++;
  return b;
}

}  // namespace

void initStackPool(size_t top_bytes) { top_size = roundUp(top_bytes, kOsPage); }

ThreadBlock* acquireSlot(size_t stack, size_t guard) {
  if (stack > size_t{1} << (kMaxStackShift - 1) || guard > size_t{1} << (kMaxStackShift - 1)) {
    return nullptr;
  }
  size_t cls = classFor(stack, guard);
  SizeClass& c = classes[cls];
  ThreadBlock* b = takeSlot(c, cls);
  if (b == nullptr) return nullptr;
  b->fork_epoch = fork_epoch.loadRelaxed();
  b->clean = false;
  b->next = nullptr;
  if (fitGuard(b, stack, guard)) return b;
  releaseSlot(b);
  return nullptr;
}

void releaseSlot(ThreadBlock* b) {
  SizeClass& c = classes[b->size_class];
  os::Lock lock(c.mu);
  b->next = c.warm;
  c.warm = b;
  c.stats.idle++;
}

uintptr_t slotStackLow(const ThreadBlock* b) { return lowOf(b) + b->guard_installed; }

void resetPoolAfterFork(ThreadBlock* survivor) {
  uint32_t epoch = fork_epoch.fetchAddRelaxed(1) + 1;
  if (survivor != nullptr && survivor->kind != BlockKind::kAdopted) survivor->fork_epoch = epoch;
  for (SizeClass& c : classes) {
    c.mu.reset();
    os::Lock lock(c.mu);
    // Idle slots too are found again by the scan, which touches no page before it is needed.
    c.warm = c.clean = nullptr;
    c.scan_chunk = c.scan_slot = 0;
    c.scan_chunk_end = c.chunk_count;
    c.scan_slot_end = c.used_in_last;
    c.stats.idle = 0;
  }
}

size_t trimIdle(size_t most) {
  size_t done = 0;
  for (SizeClass& c : classes) {
    while (done < most) {
      ThreadBlock* b;
      {
        os::Lock lock(c.mu);
        b = c.warm;
        if (b == nullptr) break;
        c.warm = b->next;
      }
      // The top page stays: it holds the ThreadBlock.
      uintptr_t low = slotStackLow(b);
      uintptr_t top = reinterpret_cast<uintptr_t>(b) & ~(kOsPage - 1);
      if (top > low) os::purge(low, top - low);
      b->clean = true;
      done++;
      os::Lock lock(c.mu);
      b->next = c.clean;
      c.clean = b;
    }
  }
  return done;
}

BlockStats blockStats() {
  BlockStats sum{};
  for (SizeClass& c : classes) {
    os::Lock lock(c.mu);
    sum.slots += c.stats.slots;
    sum.recycled += c.stats.recycled;
    sum.idle += c.stats.idle;
  }
  sum.mprotect_guards = mprotect_guards.loadRelaxed();
  return sum;
}

}  // namespace graft::glibc
