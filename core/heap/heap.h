// The heap: mcache, mcentral, mheap, and the contract with the collector. It never asks which
// thread or P is running: functions that need a cache are given one. Everything here is the slow
// half; malloc_fast.h is the fast one and reads only `space` and `key`.
//
// Locks, outermost first: SharedCache::mu, CachePool::mu, MCentral::mu, MHeap::mu. All of them are
// taken by forkPrepare() in that order, so that the child finds no half-made change.
//
// Contract with the collector (collect.cc; issue "the first collector" builds on it):
//  - findObject() answers for any word, lock-free, while everything else goes on.
//  - beginCycle(): from now on emptied spans keep their shape (HZ-SPAN). blackenCaches() marks
//    what caches hold. finishMark() makes every span unswept: it raises sweepgen, gives every
//    span the slow class byte and moves the epoch; caches acknowledge by giving up what they hold
//    of slow spans (HZ-FREE). A span is swept before anything is taken from or returned to it.
//  - endCycle() when all spans are swept: emptied spans return to mheap.
#pragma once

#include "core/heap/arena.h"
#include "core/heap/cache_pool.h"
#include "core/heap/mcache.h"
#include "core/heap/mcentral.h"
#include "core/heap/mheap.h"
#include "core/os/clock.h"

namespace graft::heap {

// What an address is, as free(), realloc() and reports see it.
enum class AddrKind : uint8_t {
  kForeign,    // not graft's
  kSmall,      // start of a handed-out slot
  kLarge,      // start of a large block
  kInterior,   // inside a block or slot, not at its start
  kFreeSlot,   // start of a slot that is not handed out: freed, or never given to anyone
  kFreePages,  // pages that hold no span
  kTail,       // unused space at the end of a span
};

struct BlockInfo {
  AddrKind kind = AddrKind::kForeign;
  Span* span = nullptr;
  ClassId cls = 0;
  uint32_t index = 0;  // slot
  Addr base = 0;       // start of the block that contains the address
  size_t size = 0;     // usable bytes
};

// findObject's answer.
struct ObjectRef {
  Addr base = 0;
  size_t size = 0;
  Span* span = nullptr;
  uint32_t index = 0;
  bool allocated = false;  // handed out to the program (not free, not in a cache)
};

enum class Phase : uint32_t { kIdle, kMarking, kSweeping };
enum class SweepMode : uint8_t { kDetect, kReclaim };

struct ClassStats {
  uint64_t spans = 0;
  uint64_t slots = 0;   // in all spans
  uint64_t free = 0;    // in spans, not in caches
  uint64_t cached = 0;
  uint64_t pages = 0;   // of all spans
  uint64_t open = 0;    // of these, in use by slots; the others are not resident
};

struct HeapStats {
  MHeapStats pages;
  ClassStats classes[kNumClasses];
  uint64_t metadata_bytes = 0;
  uint64_t small_used = 0;       // bytes of slots handed out or cached
  uint64_t small_free = 0;       // bytes of free slots in spans
  uint64_t cached = 0;           // bytes of slots in caches
  uint64_t large_used = 0;
  uint64_t spans = 0;
  uint64_t caches = 0, caches_owned = 0;
  uint64_t refills = 0, flushes = 0;
  uint64_t reserved = 0;
};

class Heap {
 public:
  constexpr Heap() = default;

  // Once, before anything else. False: no address space; every allocation then fails.
  bool init(const Config& config);
  bool ready() const { return ready_.loadAcquire() != 0; }

  // ---- allocation with a cache in hand; nullptr: out of memory
  void* allocSmall(MCache& c, ClassId cls);
  // Memory is exhausted: a slot of the next larger class with a free one whose slots are multiples
  // of align, so that no free byte is out of a small request's reach. *cls becomes that class.
  void* allocLarger(MCache& c, ClassId* cls, size_t align);
  void* allocLarge(size_t size, size_t align, bool* zero);
  // The first few blocks of a class of large slots had better be runs of pages (allocLarge): such
  // memory serves every size when it is free again, while a span and the slots that caches keep of
  // it serve one. Most processes use most of these classes once or twice. True: counted as one.
  bool isRare(ClassId cls) {
    if (classSize(cls) <= kRareSize || central[cls].as_runs.loadRelaxed() >= kRareBlocks)
      return false;
    if (check_level_ > 0) return false;  // free slots are checked for late writes, pages are not
    central[cls].as_runs.fetchAddRelaxed(1);
    return true;
  }
  void freeSmall(MCache& c, const BlockInfo& b);
  // The same for a block that liveClassFast() knows: the cache was full, or has become so.
  void freeToCache(MCache& c, ClassId cls, void* ptr);
  bool freeLarge(const BlockInfo& b);
  bool resizeLarge(const BlockInfo& b, size_t size);
  // Moves the pages of a large block to a new, larger one; nullptr: copy instead.
  void* moveLarge(const BlockInfo& b, size_t size);

  // ---- lookup
  BlockInfo classify(const void* p);
  bool findObject(Addr a, ObjectRef* out);
  bool isCached(const void* p, ClassId cls);

  // ---- caches
  MCache* acquireCache(uintptr_t thread_pointer, uint32_t tid) {
    return caches.acquire(thread_pointer, tid, [this](MCache& c) { acknowledge(c); });
  }
  void drain(MCache& c);
  void acknowledge(MCache& c);
  uint32_t epoch() const { return epoch_.loadAcquire(); }
  bool allAcknowledged();

  // ---- collector
  void beginCycle();
  Phase phase() const { return static_cast<Phase>(phase_.loadAcquire()); }
  bool cycleActive() const { return phase() != Phase::kIdle; }
  void blackenCaches();
  static bool mark(Span* s, uint32_t index);  // true when it was white
  static bool isMarked(Span* s, uint32_t index);
  void finishMark(SweepMode mode);
  // Sweeps the span if it has not been in this generation; returns white, allocated slots.
  // Only after allAcknowledged().
  uint32_t sweepSpan(Span* s);
  // What this call itself found. Reclaims white large blocks, too: in kReclaim the world is
  // stopped.
  uint64_t sweepAll();
  uint64_t whiteFound() const { return white_found_.loadRelaxed(); }  // in the present cycle
  void endCycle();
  uint32_t sweepGeneration() const { return sweepgen_.loadAcquire(); }

  // ---- memory back to the system
  void tick();  // now and then on slow paths
  // kOften: for programs that trim all the time. Looking at every span takes time in proportion to
  // the heap, and at most a twentieth of theirs goes into it; what lies dirty goes back each time.
  enum class Trim : uint8_t { kAll, kOften };
  size_t trim(Trim how = Trim::kAll);
  size_t purgePartial();
  // True when so much freed memory waits to be returned that a scavenger's thread is worth it.
  // Little is enough once the process has lived for a second: it is no command that soon ends.
  bool memoryWaits() const {
    uint64_t dirty = mheap.dirtyPages() << kPageShift, flushed = flushed_.loadRelaxed();
    uint64_t most = dirty > flushed ? dirty : flushed;
    if (most < kWorthLater || decay_ms_ < 0 || !mheap.purgeWorks()) return false;
    return most >= kWorthReturning || os::nowMs() - started_ms_ >= 1000;
  }
  // Takes back what the caches of ended threads hold, if that was last done so long ago. Returns
  // how many there were.
  size_t reapCaches(uint64_t now_ms, uint64_t min_pause_ms);
  // The scavenger's round: dirty runs by age, and with `partial` free pages of spans from which
  // nothing has been taken since the last look. False: nothing is left to wait for.
  bool returnMemory(uint64_t now_ms, bool partial);
  void setDecay(int64_t ms) { decay_ms_ = ms; }

  // RLIMIT_AS is about to become `limit` bytes (see AddressSpace::fitTo).
  void limitAddressSpace(size_t limit) {
    os::Lock lock(mheap.mutex());
    space.fitTo(limit);
  }

  // ---- allocation-site ids (HEAP.md H9): 16 bits per slot, beside the heap
  static constexpr size_t kSites = 65536;
  bool enableSites();
  // The id of a caller's return address, which pcOfSite() gives back: that of the first who had it.
  uint16_t siteFor(const void* caller);
  uintptr_t pcOfSite(uint16_t site) const { return site_pcs_[site].loadRelaxed(); }
  // Calls of siteFor() by others than the first.
  uint64_t siteCollisions() const { return site_collisions_.loadRelaxed(); }
  bool sitesOn() const { return sites_.loadRelaxed() != 0; }
  void setSite(const void* p, uint16_t site);
  uint16_t siteOf(const void* p);

  // ---- memory of the heap's own, which holds no pointer of the program's
  template <class F>
  void forEachOwnMemory(F f) const {
    space.forEachMetadata(f);
    if (site_base_ != 0) f(site_base_, siteBytes());
  }

  // ---- checks and figures
  void setChecks(int level, uint64_t stress_every) {
    check_level_ = level;
    stress_every_ = stress_every;
  }
  int checkLevel() const { return check_level_; }
  // Looks at the last freed block of the common small classes: were they written to since?
  void checkTops(MCache& c);
  const char* validate();  // quiescent heap only; nullptr or the invariant that is broken
  HeapStats stats();
  template <class F>
  void forEachSpan(F f) {
    os::Lock lock(mheap.mutex());
    mheap.forEachSpanLocked(f);
  }

  // ---- fork (HZ-FORK)
  void forkPrepare();
  void forkParent();
  void forkChild(MCache* mine, uint32_t tid);

  // Fast-path facts, written by init only.
  AddressSpace space;
  // What free slots are marked with (keyOf); never a canonical address.
  uint64_t key = 0;
  uint64_t keyOf(ClassId c) const { return keyOfClass(key, c); }

  MHeap mheap;
  CachePool caches;
  MCentral central[kNumClasses];

 private:
  friend struct TestPeer;

  enum class From : uint8_t { kAnywhere, kListedSpans };
  uint32_t refill(MCache& c, ClassId cls, uint32_t want, From from = From::kAnywhere);
  uint32_t takeSlots(ClassId cls, void** end, uint32_t want, From from)
      GRAFT_REQUIRES(central[cls].mu);
  uint32_t takeFrom(Span* s, void** end, uint32_t want)
      GRAFT_REQUIRES(central[s->cls.loadRelaxed()].mu);
  void openPage(Span* s, uint32_t page_index);
  Span* newSpan(ClassId cls) GRAFT_REQUIRES(central[cls].mu);
  void flush(ClassId cls, void** slots, uint32_t n);
  void flushCache(MCache& c, ClassId cls, uint32_t n);
  Span* spanOfSlot(ClassId cls, Addr a);
  Span* spanOfCached(ClassId cls, Addr a);
  uint32_t giveBack(Span* s, uint64_t mask, uint32_t word);
  void settle(Span* s, ClassId cls, uint32_t k);
  void settleAll();
  void list(Span* s, MCentral& m, bool front) GRAFT_REQUIRES(m.mu);
  void unlist(Span* s, MCentral& m) GRAFT_REQUIRES(m.mu);
  bool releaseIfEmpty(Span* s, MCentral& m, bool keep_one) GRAFT_REQUIRES(m.mu);
  uint32_t sweepLocked(Span* s) GRAFT_REQUIRES(central[s->cls.loadRelaxed()].mu);
  void setClassByte(Span* s, uint32_t page_index, uint8_t byte);
  static bool pageIsFree(Span* s, uint32_t page_index);
  size_t purgeCold();
  size_t purgeSpan(Span* s) GRAFT_REQUIRES(central[s->cls.loadRelaxed()].mu);
  void giveToSlowSpan(const BlockInfo& b);
  void releaseEmpties(bool keep_kept);
  void allocateBlack(void* p);
  bool readsFreed() const;
  void slowOp(MCache& c);
  const char* validateSpan(Span* s);

  base::Atomic<uint32_t> ready_{0};
  base::Atomic<uint32_t> phase_{0};
  base::Atomic<uint32_t> epoch_{0};
  base::Atomic<uint32_t> sweepgen_{0};
  base::Atomic<uint32_t> sweep_mode_{0};
  base::Atomic<uint32_t> reclaimed_{0};  // by some cycle
  base::Atomic<uint64_t> white_found_{0};
  static constexpr size_t kWorthReturning = 2_MiB, kWorthLater = 256_KiB;
  static constexpr size_t kCacheRoom = 512_KiB;  // bytes of slots that any cache may grow to hold
  static constexpr size_t kRareSize = 4_KiB;
  static constexpr uint32_t kRareBlocks = 8;
  static constexpr size_t kReadsFreed = 4_MiB;  // of spans for slots
  base::Atomic<uint64_t> flushed_{0};  // bytes given back to spans since the last partial round
  base::Atomic<uint64_t> last_tick_{0};
  base::Atomic<uint64_t> last_reap_{0};
  base::Atomic<uint64_t> next_walk_ns_{0};  // trim() may look at all spans again
  base::Atomic<uint32_t> sites_{0};
  size_t siteBytes() const { return space.reservedAtStart() / 8 + kSites * sizeof(uintptr_t); }
  Addr site_base_ = 0;
  base::Atomic<uintptr_t>* site_pcs_ = nullptr;
  base::Atomic<uint64_t> site_collisions_{0};
  int64_t decay_ms_ = 0;  // setDecay()
  uint64_t started_ms_ = 0;
  int check_level_ = 0;
  uint64_t stress_every_ = 0;
};

}  // namespace graft::heap
