// The malloc family over core/heap; see malloc.h. errno is set only where glibc sets it and kept
// by free(); nothing here throws, and only a report of misuse ends the process.
#include "shims/malloc.h"

#include <errno.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "core/base/bits.h"
#include "core/heap/guard.h"
#include "core/heap/malloc_fast.h"
#include "core/heap/misuse.h"
#include "core/os/host.h"
#include "core/os/message.h"
#include "core/runtime/collect.h"
#include "core/runtime/runtime.h"
#include "shims/start.h"

namespace graft::shims {
namespace {

using heap::AddrKind;
using heap::BlockInfo;
using heap::ClassId;
using runtime::rt;

// Calls that arrive while graft is starting on this very thread (dlsym may want a few bytes) and
// before the allocator behind us is known. Never freed, never reused.
alignas(16) constinit char early_pool[4096];
constinit base::Atomic<size_t> early_used{0};

void* earlyAlloc(size_t size, size_t align) {
  if (size > sizeof early_pool) return nullptr;
  size_t at = early_used.fetchAddRelaxed(roundUp(size + align, 16));
  if (at + size + align > sizeof early_pool) return nullptr;
  return reinterpret_cast<void*>(roundUp(reinterpret_cast<Addr>(early_pool + at), align));
}
bool isEarly(const void* p) {
  return reinterpret_cast<Addr>(p) - reinterpret_cast<Addr>(early_pool) < sizeof early_pool;
}

void* outOfMemory() {
  errno = ENOMEM;
  return nullptr;
}

// True when graft serves allocations; starts it if this is the first call.
bool ready() { return __builtin_expect(rt.on(), 1) || startRuntime(); }

// Allocation while graft is off or still starting.
void* allocBehind(size_t size, size_t align, bool zero) {
  if (os::host.malloc == nullptr) {
    void* p = earlyAlloc(size, align < 16 ? 16 : align);
    return p != nullptr ? p : outOfMemory();
  }
  if (zero) return os::host.calloc(1, size);
  return align > 16 ? os::host.memalign(align, size) : os::host.malloc(size);
}

// Memory is short: what this thread has cached, and what lies half used, may make the difference.
bool relieve(heap::Heap::Trim how = heap::Heap::Trim::kAll) {
  rt.withCache([](heap::MCache& c) -> void* {
    rt.heap.drain(c);
    return nullptr;
  });
  rt.heap.trim(how);
  return true;
}

// While the collector is on, every block has a byte more than was asked for: the address behind
// what the program sees as its end still lies in it (GC.md section 5 marks the neighbour instead;
// then a leaked block in front of a live one is never found).
size_t pad() { return __builtin_expect(rt.collector.on(), 0) ? 1 : 0; }

bool checked() { return __builtin_expect(rt.heap.checkLevel() > 0, 0); }

void* allocateRun(size_t align, size_t* room, bool* zero) {
  bool fresh = false;
  void* p = rt.heap.allocLarge(*room, align, &fresh);
  if (p == nullptr) return nullptr;
  *room = pagesFor(*room) << kPageShift;
  *zero = fresh;
  return p;
}

// A block of a size that slots serve; *room becomes what it holds. When memory is exhausted, any
// free slot and any free page will do.
void* allocateSlot(ClassId cls, size_t align, size_t* room, bool* zero) {
  if (rt.heap.isRare(cls)) {
    if (void* run = allocateRun(align, room, zero)) return run;
  }
  auto take = [&](heap::MCache& c) { return rt.heap.allocSmall(c, cls); };
  void* p = rt.withCache(take);
  if (p == nullptr && relieve()) p = rt.withCache(take);
  if (p == nullptr)
    p = rt.withCache([&](heap::MCache& c) { return rt.heap.allocLarger(c, &cls, align); });
  if (p == nullptr) return allocateRun(align, room, zero);
  *room = heap::classSize(cls);
  return p;
}

// The block, or nullptr with errno untouched. *zero (may be null): the contents are known zero.
void* allocate(size_t size, size_t align, bool* zero, const void* caller) {
  if (__builtin_expect(size > PTRDIFF_MAX, 0)) return nullptr;
  size_t room = size + pad() + (checked() ? heap::kGuardBytes : 0);
  bool fresh = false;
  if (align < 16) align = 16;
  ClassId cls = heap::classForAligned(room, align);
  void* p = cls != 0 ? allocateSlot(cls, align, &room, &fresh) : nullptr;
  if (cls == 0) {
    if (heap::MCache* own = runtime::threadHeap().own) rt.heap.checkTops(*own);
    bool sane = room < rt.heap.space.reservedBytes() && align < rt.heap.space.reservedBytes();
    p = allocateRun(align, &room, &fresh);
    if (p == nullptr && sane && relieve()) p = allocateRun(align, &room, &fresh);
  }
  if (p == nullptr) return nullptr;
  if (rt.collector.on()) rt.collector.allocated(p, room);
  if (checked()) heap::armGuard(p, size, room, rt.heap.key);
  if (rt.heap.sitesOn()) rt.heap.setSite(p, rt.heap.siteFor(caller));
  if (zero != nullptr) *zero = fresh;
  return p;
}

void* allocateOrErrno(size_t size, size_t align, bool* zero, const void* caller) {
  void* p = allocate(size, align, zero, caller);
  rt.afterSlowPath();
  return __builtin_expect(p != nullptr, 1) ? p : outOfMemory();
}

// The size the program asked for in checked mode, or the usable one.
size_t sizeOfBlock(const BlockInfo& b) {
  if (!checked()) return b.size;
  size_t n = heap::guardedSize(reinterpret_cast<void*>(b.base), b.size, rt.heap.key);
  return n != ~size_t{0} ? n : b.size - heap::kGuardBytes;
}

void freeBlock(void* p, const BlockInfo& b, const char* call) {
  if (rt.collector.on()) rt.collector.freed(b.base, b.size);
  if (checked() && heap::guardedSize(p, b.size, rt.heap.key) == ~size_t{0}) {
    heap::reportMisuse(rt.heap, call, p, "block was written to past its end");
  }
  if (b.kind == AddrKind::kSmall) {
    rt.withCache([&](heap::MCache& c) -> void* {
      rt.heap.freeSmall(c, b);
      return nullptr;
    });
  } else if (!rt.heap.freeLarge(b)) {
    heap::reportMisuse(rt.heap, call, p, heap::misuseOf(AddrKind::kFreePages));
  }
  rt.afterSlowPath();
}

}  // namespace

[[gnu::noinline]] void* mallocSlow(size_t size) {
  runtime::Inside inside;
  if (!ready()) return allocBehind(size, 16, false);
  return allocateOrErrno(size, 16, nullptr, __builtin_return_address(0));
}

void freeSlow(void* p) {
  if (p == nullptr) return;
  runtime::Inside inside;
  if (__builtin_expect(!rt.on(), 0)) {
    if (!isEarly(p) && os::host.free != nullptr) os::host.free(p);
    return;
  }
  // The common miss is a full cache.
  if (heap::MCache* own = runtime::threadHeap().own;
      own != nullptr && own == runtime::threadHeap().fast) {
    if (size_t cls = heap::liveClassFast(*own, p); cls != 0) {
      rt.heap.freeToCache(*own, static_cast<ClassId>(cls), p);
      return rt.afterSlowPath();
    }
  }
  BlockInfo b = rt.heap.classify(p);
  if (b.kind == AddrKind::kSmall || b.kind == AddrKind::kLarge) return freeBlock(p, b, "free");
  if (b.kind != AddrKind::kForeign) {
    if (rt.collector.reclaims() && rt.collector.freedLate(p)) return;
    return heap::reportMisuse(rt.heap, "free", p, heap::misuseOf(b.kind));
  }
  if (!isEarly(p) && os::host.free != nullptr) os::host.free(p);
}

void freeSized(void* p, size_t size) {
  runtime::Inside inside;
  if (p != nullptr && rt.on() && checked()) {
    BlockInfo b = rt.heap.classify(p);
    bool live = b.kind == AddrKind::kSmall || b.kind == AddrKind::kLarge;
    if (live && sizeOfBlock(b) != size) {
      heap::reportMisuse(rt.heap, "operator delete", p, "size differs from the block's");
    }
  }
  freeSlow(p);
}

void* callocAny(size_t count, size_t size) {
  runtime::Inside inside;
  size_t total;
  if (__builtin_mul_overflow(count, size, &total)) return outOfMemory();
  if (!ready()) return allocBehind(total, 16, true);
  bool fresh = false;
  void* p = allocateOrErrno(total, 16, &fresh, __builtin_return_address(0));
  if (p != nullptr && !fresh) base::fillBytes(p, 0, total);
  return p;
}

void* reallocAny(void* p, size_t size) {
  runtime::Inside inside;
  const void* caller = __builtin_return_address(0);
  if (p == nullptr)
    return ready() ? allocateOrErrno(size, 16, nullptr, caller) : allocBehind(size, 16, false);
  if (!rt.on() || isEarly(p)) {
    if (!isEarly(p)) return os::host.realloc != nullptr ? os::host.realloc(p, size) : outOfMemory();
    void* to = mallocSlow(size);
    size_t have = sizeof early_pool - static_cast<size_t>(static_cast<char*>(p) - early_pool);
    if (to != nullptr) base::copyBytes(to, p, size < have ? size : have);
    return to;
  }
  BlockInfo b = rt.heap.classify(p);
  if (b.kind == AddrKind::kForeign)
    return os::host.realloc != nullptr ? os::host.realloc(p, size) : outOfMemory();
  if (b.kind != AddrKind::kSmall && b.kind != AddrKind::kLarge) {
    heap::reportMisuse(rt.heap, "realloc", p, heap::misuseOf(b.kind));
    return outOfMemory();
  }
  if (rt.collector.on() && size != 0) rt.collector.used(b.base);
  if (size == 0) {  // as glibc: realloc(p, 0) is free(p)
    freeBlock(p, b, "realloc");
    return nullptr;
  }
  if (size > PTRDIFF_MAX) return outOfMemory();
  bool keep = !checked() && size + pad() <= b.size && size >= b.size / 2;
  if (b.kind == AddrKind::kLarge && (size > heap::kMaxSmall || size > b.size) && !checked()) {
    size_t want = pagesFor(size + pad()) << kPageShift;
    keep = want == b.size;
    if (!keep && rt.heap.resizeLarge(b, size + pad())) {
      keep = true;
      if (rt.collector.on()) rt.collector.resized(b.size, want);
    }
  }
  if (keep) {
    if (rt.heap.sitesOn()) rt.heap.setSite(p, rt.heap.siteFor(caller));
    return p;
  }
  if (b.kind == AddrKind::kLarge && size > b.size && !checked()) {
    if (void* moved = rt.heap.moveLarge(b, size + pad())) {
      if (rt.collector.on()) rt.collector.resized(b.size, pagesFor(size + pad()) << kPageShift);
      if (rt.heap.sitesOn()) rt.heap.setSite(moved, rt.heap.siteFor(caller));
      return moved;
    }
  }
  void* to = allocate(size, 16, nullptr, caller);
  size_t have = sizeOfBlock(b);
  if (to == nullptr) return size <= have ? p : outOfMemory();
  base::copyBytes(to, p, size < have ? size : have);
  freeBlock(p, b, "realloc");
  return to;
}

void* memalignAny(size_t align, size_t size) {
  return alignedFor(align, size, __builtin_return_address(0));
}

void* alignedFor(size_t align, size_t size, const void* caller) {
  runtime::Inside inside;
  if (align <= 16)
    return ready() ? allocateOrErrno(size, 16, nullptr, caller) : allocBehind(size, 16, false);
  if (align > SIZE_MAX / 2 + 1) {
    errno = EINVAL;
    return nullptr;
  }
  if (!isPow2(align)) align = size_t{1} << (base::highestBit(align) + 1);
  if (!ready()) return allocBehind(size, align, false);
  return allocateOrErrno(size, align, nullptr, caller);
}

int posixMemalign(void** out, size_t align, size_t size) {
  runtime::Inside inside;
  if (align % sizeof(void*) != 0 || !isPow2(align)) return EINVAL;
  void* p = ready() ? allocate(size, align, nullptr, __builtin_return_address(0))
                    : allocBehind(size, align, false);
  if (p == nullptr) {
    errno = ENOMEM;  // as glibc, although POSIX asks for the return value only
    return ENOMEM;
  }
  *out = p;
  return 0;
}

size_t usableSizeSlow(const void* p) {
  runtime::Inside inside;
  if (p == nullptr) return 0;
  if (!rt.on())
    return os::host.usableSize != nullptr ? os::host.usableSize(const_cast<void*>(p)) : 0;
  BlockInfo b = rt.heap.classify(p);
  if (b.kind == AddrKind::kForeign) {
    bool ask = !isEarly(p) && os::host.usableSize != nullptr;
    return ask ? os::host.usableSize(const_cast<void*>(p)) : 0;
  }
  if (b.kind != AddrKind::kSmall && b.kind != AddrKind::kLarge) return 0;
  if (rt.collector.on()) rt.collector.used(b.base);
  return sizeOfBlock(b);
}

int trimAny(size_t) {
  runtime::Inside inside;
  if (!rt.on()) return 0;
  uint64_t before = rt.heap.mheap.stats().purged_pages;
  relieve(heap::Heap::Trim::kOften);
  return rt.heap.mheap.stats().purged_pages != before ? 1 : 0;
}

}  // namespace graft::shims
