// Fuzzes the heap: bytes become a sequence of allocations, aligned and zeroed ones, resizes, moves,
// frees (also wrong ones), cache drains, trims, purges, collector cycles and refused memory, held
// against a map of live blocks with patterned contents; validate() has the last word.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <memory>

#include "core/base/check.h"
#include "core/base/options.h"
#include "core/heap/heap.h"
#include "core/heap/malloc_fast.h"
#include "core/heap/misuse.h"
#include "core/os/mem.h"
#include "core/os/sys.h"

namespace {

using namespace graft;
using namespace graft::heap;

void require(bool ok, const char* what) {
  if (ok) return;
  os::setFaultInjection(0);
  fprintf(stderr, "heap_fuzz: %s\n", what);
  abort();
}

class Bytes {
 public:
  Bytes(const uint8_t* data, size_t size) : at_(data), end_(data + size) {}
  bool empty() const { return at_ == end_; }
  uint8_t one() { return empty() ? uint8_t{0} : *at_++; }
  uint32_t two() { return static_cast<uint32_t>(one()) << 8 | one(); }
  // Small sizes often, whole pages and megabytes now and then.
  size_t size() {
    uint8_t kind = one();
    if (kind < 128) return two() % 1100;
    if (kind < 190) return two();
    if (kind < 240) return two() * size_t{8};
    return two() * size_t{64};
  }

 private:
  const uint8_t *at_, *end_;
};

struct Block {
  size_t size;
  uint32_t tag;
};

class Fuzzer {
 public:
  Fuzzer(Bytes& in, bool checked, bool deny_reserve) : in_(in), heap_(std::make_unique<Heap>()) {
    heap_->setDecay(2'000'000'000);
    config_.reserve_bytes = 1024_GiB;  // a smaller one could land where a sanitizer keeps its own
    config_.max_caches = 4;
    config_.deny_reserve = deny_reserve;
    ok_ = heap_->init(config_);
    if (!ok_) return;
    reserved_ = heap_->space.reservedBytes();
    heap_->setChecks(checked ? 1 : 0, 0);
    slow_ = checked;
    cache_ = heap_->caches.acquire(os::threadPointer(), static_cast<uint32_t>(os::gettid()));
    require(cache_ != nullptr, "no cache");
  }
  ~Fuzzer() {
    if (!ok_) return;
    AddressSpace& s = heap_->space;
    os::release(s.base(), s.growsByMapping() ? s.limit() : reserved_);
    size_t caches = roundUp((config_.max_caches + kSharedCaches) * CachePool::cacheBytes(), 64_KiB);
    os::release(s.caches().base(), caches + roundUp((reserved_ >> kPageShift) * 8, 64_KiB) +
                                       roundUp(reserved_ / 32, 64_KiB));
  }

  void run() {
    if (!ok_) return;
    uint64_t misuses = misuseCount();
    for (int ops = 0; !in_.empty() && ops < 4000; ops++) step();
    os::setFaultInjection(0);
    if (heap_->cycleActive()) endCycle();
    check();
    while (!live_.empty()) freeAt(live_.begin());
    heap_->drain(*cache_);
    heap_->trim();
    check();
    HeapStats st = heap_->stats();
    require(st.spans == 0, "spans are left over");
    require(st.pages.dirty_pages == 0, "dirty pages are left over after trim");
    require(misuseCount() == misuses, "a sound program was reported");
  }

 private:
  using Live = std::map<Addr, Block>;

  void step() {
    uint8_t op = in_.one();
    if (op < 90) return plain();
    if (op < 170) return freeSome();
    if (op < 180) return aligned();
    if (op < 195) return zeroed();
    if (op < 220) return resize();
    if (op < 228) return wrongFree();
    if (op < 234) return heap_->drain(*cache_);
    if (op < 238) {
      heap_->trim();
      return;
    }
    if (op < 243) {
      heap_->purgePartial();
      return;
    }
    if (op < 246) {
      heap_->mheap.scavenge(~uint32_t{0} / 2, 0, in_.two());
      return;
    }
    if (op < 249) return os::setFaultInjection(in_.one() % 16);
    if (op < 252) return cycle();
    if (op < 254) return lookAround();
    os::setFaultInjection(0);
    check();
  }

  void plain() {
    size_t size = in_.size();
    add(allocate(size, 16), size);
  }
  void* allocate(size_t size, size_t align) {
    if (size > kMaxSmall || align > 16) return heap_->allocLarge(size, align, &zero_);
    zero_ = false;
    ClassId cls = classFor(size);
    if (!slow_) {
      if (void* p = mallocFast(*cache_, cls)) return p;
    }
    return heap_->allocSmall(*cache_, cls);
  }

  void add(void* p, size_t size) {
    if (p == nullptr) return;
    Addr a = reinterpret_cast<Addr>(p);
    BlockInfo b = heap_->classify(p);
    require(b.kind == AddrKind::kSmall || b.kind == AddrKind::kLarge, "no block was handed out");
    require(b.base == a && b.size >= size, "the block is too small");
    auto next = live_.lower_bound(a);
    require(next == live_.end() || a + std::max<size_t>(size, 1) <= next->first, "overlap above");
    if (next != live_.begin()) {
      auto before = std::prev(next);
      require(before->first + std::max<size_t>(before->second.size, 1) <= a, "overlap below");
    }
    uint32_t tag = ++tags_;
    live_[a] = {size, tag};
    fill(a, 0, size, tag);
  }

  // Every byte of the first 256 and one in 61 after that has a value of its own, the others have
  // the tag's; long blocks are compared where the values are their own, and at their end.
  static bool isSampled(size_t i) { return i < 256 || i % 61 == 0; }
  static uint8_t valueAt(uint32_t tag, size_t i) {
    return isSampled(i) ? patternByte(tag, i) : static_cast<uint8_t>(tag);
  }
  static size_t nextSample(size_t i) { return i < 255 ? i + 1 : (i / 61 + 1) * 61; }
  static void fill(Addr a, size_t from, size_t to, uint32_t tag) {
    uint8_t* p = reinterpret_cast<uint8_t*>(a);
    memset(p + from, static_cast<int>(tag & 0xff), to - from);
    size_t first = isSampled(from) ? from : nextSample(from);
    for (size_t i = first; i < to; i = nextSample(i)) p[i] = patternByte(tag, i);
  }
  static bool holds(Addr a, size_t n, uint32_t tag) {
    const uint8_t* p = reinterpret_cast<const uint8_t*>(a);
    for (size_t i = 0; i < n; i = nextSample(i)) {
      if (p[i] != patternByte(tag, i)) return false;
    }
    for (size_t i = n - std::min<size_t>(n, 64); i < n; i++) {
      if (p[i] != valueAt(tag, i)) return false;
    }
    return true;
  }
  static uint8_t patternByte(uint32_t tag, size_t i) {
    return static_cast<uint8_t>(tag * 131 + i * 7 + (i >> 8));
  }

  Addr anyAddress() {
    size_t off = size_t{in_.two()} << 16 | in_.two();
    return heap_->space.base() + off % (heap_->space.limit() + kPageSize);
  }
  Live::iterator pick() {
    if (live_.empty()) return live_.end();
    Addr a = anyAddress();
    auto it = live_.lower_bound(a);
    return it != live_.end() ? it : live_.begin();
  }
  void freeSome() {
    if (auto it = pick(); it != live_.end()) freeAt(it);
  }
  void freeAt(Live::iterator it) {
    require(holds(it->first, it->second.size, it->second.tag), "contents were damaged");
    require(giveBack(reinterpret_cast<void*>(it->first)), "free of a live block was refused");
    require(!giveBack(reinterpret_cast<void*>(it->first)), "a second free was accepted");
    live_.erase(it);
  }
  bool giveBack(void* p) {
    if (!slow_ && freeFast(*cache_, p)) return true;
    BlockInfo b = heap_->classify(p);
    if (b.kind == AddrKind::kLarge) return heap_->freeLarge(b);
    if (b.kind != AddrKind::kSmall) return false;
    heap_->freeSmall(*cache_, b);
    return true;
  }

  void aligned() {
    size_t align = size_t{16} << in_.one() % 18;
    size_t size = in_.size();
    void* p = allocate(size, align);
    require(reinterpret_cast<Addr>(p) % align == 0, "alignment is missed");
    if (p != nullptr && zero_) requireZero(p, size);
    add(p, size);
  }
  void zeroed() {
    size_t size = in_.size();
    void* p = allocate(size, 16);
    if (p != nullptr && zero_) requireZero(p, size);
    add(p, size);
  }
  static void requireZero(const void* p, size_t n) {
    const uint8_t* b = static_cast<const uint8_t*>(p);
    for (size_t i = 0; i < n; i++) require(b[i] == 0, "memory said to be zero is not");
  }

  void resize() {
    auto it = pick();
    size_t size = in_.size();
    if (it == live_.end()) return;
    auto [size_before, tag] = it->second;
    Addr a = it->first;
    BlockInfo b = heap_->classify(reinterpret_cast<void*>(a));
    if (b.kind != AddrKind::kLarge) return;
    if (size <= kMaxSmall) size += kMaxSmall + 1;
    if (heap_->resizeLarge(b, size)) {
      require(holds(a, std::min(size, size_before), tag), "resize damaged the contents");
      require(heap_->classify(reinterpret_cast<void*>(a)).size >= size, "resize said yes to more");
      it->second.size = size;
      if (size > size_before) fill(a, size_before, size, tag);
      auto next = std::next(it);
      require(next == live_.end() || a + size <= next->first, "grew into another block");
      return;
    }
    require(holds(a, size_before, tag), "a refused resize damaged the contents");
    if (size <= b.size) return;
    void* to = heap_->moveLarge(b, size);
    if (to == nullptr) return require(holds(a, size_before, tag), "a refused move damaged it");
    require(holds(reinterpret_cast<Addr>(to), size_before, tag), "move damaged the contents");
    live_.erase(it);
    add(to, size);
  }

  // Addresses that are no block: every one must be refused and change nothing.
  void wrongFree() {
    Addr a = anyAddress();
    if (live_.count(a) != 0) return;
    auto next = live_.upper_bound(a);
    if (next != live_.begin()) {
      auto [from, block] = *std::prev(next);
      a = std::min(a, from + block.size);  // often an interior pointer
      if (live_.count(a) != 0) return;
    }
    // What was never handed out to the reference may still be a slot that starts here: a free one.
    require(!giveBack(reinterpret_cast<void*>(a)), "a wrong free was accepted");
  }

  void lookAround() {
    for (int i = 0; i < 20; i++) {
      Addr a = anyAddress();
      auto next = live_.upper_bound(a);
      const std::pair<const Addr, Block>* owner = nullptr;
      if (next != live_.begin()) {
        auto before = std::prev(next);
        if (a - before->first < before->second.size) owner = &*before;
      }
      ObjectRef o;
      bool found = heap_->findObject(a, &o);
      if (owner == nullptr) continue;
      require(found && o.allocated && o.base == owner->first, "findObject misses a live block");
    }
  }

  // A whole cycle with a stopped world: everything live is marked, so nothing may be found.
  void cycle() {
    os::setFaultInjection(0);
    if (heap_->cycleActive()) return endCycle();
    heap_->beginCycle();
    slow_before_ = slow_;
    slow_ = true;
  }
  void endCycle() {
    for (auto& [a, block] : live_) {
      ObjectRef o;
      require(heap_->findObject(a, &o) && o.allocated && o.base == a, "a live block is not found");
      Heap::mark(o.span, o.index);
    }
    heap_->blackenCaches();
    heap_->finishMark(SweepMode::kReclaim);
    heap_->acknowledge(*cache_);
    heap_->sweepAll();
    require(heap_->whiteFound() == 0, "a live, cached or free slot was taken for garbage");
    heap_->endCycle();
    slow_ = slow_before_;
  }

  void check() {
    const char* bad = heap_->validate();
    require(bad == nullptr, bad);
    for (auto& [a, block] : live_) require(holds(a, block.size, block.tag), "contents are damaged");
    MHeapStats s = heap_->mheap.stats();
    require(s.dirty_pages + s.clean_pages + s.small_pages + s.large_pages == s.committed_pages,
            "pages do not add up");
  }

  Bytes& in_;
  std::unique_ptr<Heap> heap_;
  Config config_;
  MCache* cache_ = nullptr;
  Live live_;
  size_t reserved_ = 0;
  uint32_t tags_ = 0;
  bool ok_ = false, slow_ = false, slow_before_ = false, zero_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  base::options.misuse.set(base::Misuse::kReport);
  base::fail_hooks.write = [](const char* text, size_t n) { fwrite(text, 1, n, stderr); };
  base::fail_hooks.die = [] { abort(); };
  Bytes in(data, size);
  uint8_t mode = in.one();
  os::setFaultInjection(0);
  Fuzzer fuzzer(in, mode % 8 == 7, mode % 16 == 5);
  fuzzer.run();
  return 0;
}
