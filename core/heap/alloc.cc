// Slow halves of malloc and free with a cache in hand, large blocks, and the checks that a checked
// mode adds. Any thread, on its own stack, holding no lock.
#include "core/base/bits.h"
#include "core/base/check.h"
#include "core/heap/guard.h"
#include "core/heap/heap.h"
#include "core/heap/misuse.h"
#include "core/os/clock.h"
#include "core/os/mem.h"
#include "core/os/sys.h"

namespace graft::heap {
namespace {

constexpr const char* kSpoilt = "block was written to after it was freed, or freed twice";

uint32_t clockMs() { return static_cast<uint32_t>(os::nowMs()); }

uint64_t makeKey() {
  uint64_t r = 0;
  constexpr long kNonblock = 1;
  if (os::sys(SYS_getrandom, os::arg(&r), sizeof r, kNonblock) != sizeof r) {
    r = os::nowMs() ^ (static_cast<uint64_t>(os::gettid()) << 32) ^ os::threadPointer();
    r *= 0x9e3779b97f4a7c15u;
  }
  // Bit 63 set, bit 62 clear: no canonical address, no small integer, no common floating value. The
  // low byte is the class's.
  return (r & ~(uint64_t{3} << 62) & ~uint64_t{255}) | (uint64_t{1} << 63);
}

}  // namespace

bool Heap::init(const Config& config) {
  Config with = config;
  with.cache_bytes = CachePool::cacheBytes();
  with.max_caches += kSharedCaches;
  if (!space.init(with)) return false;
  key = makeKey();
  mheap.init(space, !config.deny_purge);
  caches.init(space, config.max_caches, key);
  last_tick_.storeRelaxed(os::nowMs());
  started_ms_ = os::nowMs();
  ready_.storeRelease(1);
  return true;
}

// Whether free() reads the block to see a second free at the call: see malloc_fast.h, (4). Once
// memory is reclaimed it must, for then the first "free" may have been the collector's.
bool Heap::readsFreed() const {
  return reclaimed_.loadRelaxed() != 0 || mheap.smallBytes() < kReadsFreed;
}

void Heap::slowOp(MCache& c) {
  c.limit = space.limit();
  c.reads_freed = readsFreed() ? 1 : 0;
  if (c.acked.loadRelaxed() != epoch()) acknowledge(c);
  if (++c.slow_ops % 64 == 0) tick();
  if (__builtin_expect(stress_every_ != 0, 0) && c.slow_ops % stress_every_ == 0) {
    drain(c);
    purgePartial();
    mheap.scavenge(clockMs(), 0, ~size_t{0});
  }
  if (__builtin_expect(check_level_ > 1, 0) && c.slow_ops % 10000 == 0) {
    // Only the part that holds while other threads run.
    os::Lock lock(mheap.mutex());
    if (const char* bad = mheap.validateLocked()) base::fail(bad, __FILE_NAME__, __LINE__);
  }
}

void* Heap::allocSmall(MCache& c, ClassId cls) {
  if (c.empty(cls) || check_level_ > 1 || stress_every_ != 0) slowOp(c);
  if (c.empty(cls)) {
    // A class that keeps running dry deserves a larger stack, as long as what lies in caches is
    // little against what is used.
    if (++c.refilled[cls] % 4 == 0 && c.room < kCacheRoom + mheap.smallBytes() / 16) c.grow(cls);
    c.flushed[cls] = 0;
    c.refills++;
    if (refill(c, cls, static_cast<uint32_t>(c.capacity(cls) / 2)) == 0) return nullptr;
  }
  void** top = c.top[cls];
  uint64_t* p = static_cast<uint64_t*>(*top);
  c.setTop(cls, top - 1);
  bool intact = check_level_ > 0 ? freedIntact(p, classSize(cls), keyOf(cls)) : p[1] == keyOf(cls);
  if (__builtin_expect(!intact, 0)) {
    // Whoever wrote to it may do so again, or free it again: it is never handed out.
    reportMisuse(*this, "malloc", p, kSpoilt);
    return allocSmall(c, cls);
  }
  p[1] = 0;
  if (__builtin_expect(cycleActive(), 0)) allocateBlack(p);
  return p;
}

void* Heap::allocLarger(MCache& c, ClassId* cls, size_t align) {
  for (size_t i = *cls + size_t{1}; i < kNumClasses; i++) {
    ClassId larger = static_cast<ClassId>(i);
    if (classSize(larger) % align != 0) continue;
    if (c.empty(larger) && refill(c, larger, 1, From::kListedSpans) == 0) continue;
    *cls = larger;
    return allocSmall(c, larger);
  }
  return nullptr;
}

void Heap::freeSmall(MCache& c, const BlockInfo& b) {
  uint64_t* p = reinterpret_cast<uint64_t*>(b.base);
  if (check_level_ > 0) fillFreed(p, b.size);
  // The slot goes back first and slowOp() comes last: it may acknowledge the epoch, and nobody may
  // acknowledge with a slot in hand (HZ-FREE).
  if (__builtin_expect(b.span->slow.loadRelaxed() != 0, 0)) {
    p[1] = keyOf(b.cls);
    giveToSlowSpan(b);
    return slowOp(c);
  }
  freeToCache(c, b.cls, p);
}

void Heap::freeToCache(MCache& c, ClassId cls, void* ptr) {
  uint64_t* p = static_cast<uint64_t*>(ptr);
  p[1] = keyOf(cls);
  if (c.top[cls] == c.end[cls]) {
    // A thread that only frees gives everything back and shrinks to a small capacity: it hoards
    // nothing, and still flushes in batches. A burst of frees is no such thread yet.
    constexpr uint8_t kOnlyFrees = 8;
    size_t have = c.count(cls), cap = c.capacity(cls);
    const ClassInfo& info = kClasses.info[cls];
    size_t least = info.cache_max / 8 > info.cache_start ? info.cache_max / 8 : info.cache_start;
    bool only_frees = c.flushed[cls] >= kOnlyFrees;
    if (!only_frees) c.flushed[cls]++;
    if (have != 0) flushCache(c, cls, static_cast<uint32_t>(only_frees ? have : (have + 1) / 2));
    if (only_frees && cap / 2 >= least) c.setCapacity(cls, cap / 2);
  }
  void** top = c.top[cls] + 1;
  storeSlot(top, p);
  c.setTop(cls, top);
  slowOp(c);
}

// HZ-FREE: a span whose sweep is due must see a free at once.
void Heap::giveToSlowSpan(const BlockInfo& b) {
  {
    os::Lock lock(central[b.cls].mu);
    uint64_t bit = uint64_t{1} << (b.index % 64);
    if (Bits::give(b.span->freeBits()[b.index / 64], bit) != 0) return;  // reclaimed meanwhile
    if (allAcknowledged()) sweepLocked(b.span);
  }
  settle(b.span, b.cls, 1);
}

void Heap::checkTops(MCache& c) {
  for (ClassId cls = 1; cls <= 16; cls++) {
    uint64_t* p = static_cast<uint64_t*>(*c.top[cls]);
    if (c.empty(cls) || p[1] == keyOf(cls)) continue;
    reportMisuse(*this, "malloc", p, kSpoilt);
    p[1] = keyOf(cls);
  }
}

void* Heap::allocLarge(size_t size, size_t align, bool* zero) {
  if (size >= space.reservedBytes() || align >= space.reservedBytes()) return nullptr;
  size_t npages = pagesFor(size);
  size_t align_pages = align > kPageSize ? align >> kPageShift : 1;
  if (npages == 0) npages = 1;
  tick();
  // A block that no dirty run can hold makes the process larger by its size, while what lies dirty
  // may have to wait out its time. It gives way: madvise costs a fraction of the new pages' faults.
  constexpr size_t kWorthGivingWay = 1_MiB;
  if (size >= kWorthGivingWay && decay_ms_ > 0 && !mheap.fitsDirty(npages + align_pages - 1)) {
    mheap.scavenge(clockMs(), 0, npages);
  }
  Span* s = mheap.allocLarge(npages, align_pages, zero);
  if (s == nullptr) {
    // Whatever is cached or half used may make the difference.
    trim();
    s = mheap.allocLarge(npages, align_pages, zero);
    if (s == nullptr) return nullptr;
  }
  if (cycleActive()) mark(s, 0);
  return reinterpret_cast<void*>(space.addrOf(s->page.loadRelaxed()));
}

bool Heap::freeLarge(const BlockInfo& b) {
  bool ok = mheap.freeLarge(b.span, space.pageOf(b.base), clockMs());
  tick();
  return ok;
}

bool Heap::resizeLarge(const BlockInfo& b, size_t size) {
  return mheap.resizeLarge(b.span, pagesFor(size), clockMs());
}

void* Heap::moveLarge(const BlockInfo& b, size_t size) {
  constexpr size_t kWorthMoving = 1_MiB;
  if (b.size < kWorthMoving || !space.mremapAllowed() || cycleActive()) return nullptr;
  bool zero = false;
  void* to = allocLarge(size, kPageSize, &zero);
  if (to == nullptr) return nullptr;
  BlockInfo target = classify(to);
  target.span->flag = 1;  // its mapping is patchwork from here on, even if the move fails half
  if (!os::movePages(b.base, reinterpret_cast<Addr>(to), b.size)) {
    target.span->flag = 0;
    base::copyBytes(to, reinterpret_cast<void*>(b.base), b.size);
  }
  freeLarge(b);
  return to;
}

}  // namespace graft::heap
