// What the heap's tests share: a heap of their own that is unmapped at the end of a test, a client
// that allocates and frees through it as the malloc shims do, sanitizer facts, and the one door to
// Heap's private parts. Threads of a test each make a Client.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <string.h>

#include <memory>
#include <string>
#include <vector>

#include "core/base/check.h"
#include "core/base/options.h"
#include "core/heap/guard.h"
#include "core/heap/heap.h"
#include "core/heap/malloc_fast.h"
#include "core/heap/misuse.h"
#include "core/os/mem.h"
#include "core/os/message.h"
#include "core/os/sys.h"

namespace graft::heap {

#if defined(__SANITIZE_THREAD__)
inline constexpr bool kTsan = true;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
inline constexpr bool kTsan = true;
#else
inline constexpr bool kTsan = false;
#endif
#else
inline constexpr bool kTsan = false;
#endif
#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool kAsan = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
inline constexpr bool kAsan = true;
#else
inline constexpr bool kAsan = false;
#endif
#else
inline constexpr bool kAsan = false;
#endif

// Heap names this struct its friend.
struct TestPeer {
  static uint32_t refill(Heap& h, MCache& c, ClassId cls, uint32_t want) {
    return h.refill(c, cls, want);
  }
  static void flush(Heap& h, ClassId cls, void** slots, uint32_t n) { h.flush(cls, slots, n); }
};

inline uint32_t selfTid() { return static_cast<uint32_t>(os::gettid()); }

inline Config testConfig() {
  Config config;
  // Under ThreadSanitizer only a reservation too large for the first hint lands in memory that it
  // shadows.
  config.reserve_bytes = kTsan ? 1024_GiB : 4_GiB;
  config.max_caches = 64;
  return config;
}

// A pseudo-random sequence that is the same on every run.
class Rng {
 public:
  explicit Rng(uint64_t seed) : s_(seed * 0x9e3779b97f4a7c15u + 1) {}
  uint64_t next() {
    s_ ^= s_ << 13;
    s_ ^= s_ >> 7;
    s_ ^= s_ << 17;
    return s_ * 0x2545f4914f6cdd1du;
  }
  uint64_t below(uint64_t n) { return (next() >> 11) % n; }

 private:
  uint64_t s_;
};

// Allocates and frees as the shims do: fast half first, then the slow one. One thread only.
class Client {
 public:
  explicit Client(Heap& h) : Client(h, h.caches.acquire(os::threadPointer(), selfTid())) {}
  Client(Heap& h, MCache* c) : heap_(h), cache_(c) {}

  MCache& cache() { return *cache_; }
  void slowOnly() { slow_ = true; }  // as in a checked mode or during a cycle

  void* alloc(size_t size, bool* zero = nullptr) {
    bool fresh = false;
    if (zero != nullptr) *zero = false;
    if (size > kMaxSmall) {
      void* p = heap_.allocLarge(size, 16, &fresh);
      if (zero != nullptr) *zero = fresh;
      return p;
    }
    ClassId cls = classFor(size);
    void* p = slow_ ? nullptr : mallocFast(*cache_, cls);
    return p != nullptr ? p : heap_.allocSmall(*cache_, cls);
  }
  // False when the address is no live block.
  bool free(void* p) {
    if (!slow_ && freeFast(*cache_, p)) return true;
    BlockInfo b = heap_.classify(p);
    if (b.kind == AddrKind::kLarge) return heap_.freeLarge(b);
    if (b.kind != AddrKind::kSmall) return false;
    heap_.freeSmall(*cache_, b);
    return true;
  }
  void drain() { heap_.drain(*cache_); }

 private:
  Heap& heap_;
  MCache* cache_;
  bool slow_ = false;
};

// Unmaps an address space that reserved `size` bytes at its start. What fitTo() gave back may
// belong to someone else since: only the used part of a heap that grows by mapping is ours.
inline void unmap(AddressSpace& space, size_t size, size_t cache_bytes) {
  bool shrunk = space.reservedBytes() != size;
  os::release(space.base(), space.growsByMapping() ? space.limit() : size);
  size_t meta = roundUp(cache_bytes, 64_KiB);
  if (!shrunk) meta += roundUp((size >> kPageShift) * 8, 64_KiB) + roundUp(size / 32, 64_KiB);
  os::release(space.caches().base(), meta);
}

// An address space that is unmapped at the end, so that the next test finds its place free.
class TestSpace : public AddressSpace {
 public:
  bool init(const Config& c) {
    ok_ = AddressSpace::init(c);
    size_ = reservedBytes();
    caches_ = c.max_caches * c.cache_bytes;
    return ok_;
  }
  ~TestSpace() {
    if (ok_) unmap(*this, size_, caches_);
  }

 private:
  size_t size_ = 0, caches_ = 0;
  bool ok_ = false;
};

// A heap that lives as long as the test. Misuse is counted, never fatal; none may be left over.
class TestHeap {
 public:
  explicit TestHeap(const Config& config = testConfig()) : heap_(std::make_unique<Heap>()) {
    before_ = base::options.misuse.get();
    base::options.misuse.set(base::Misuse::kReport);
    base::fail_hooks = {[](const char* text, size_t n) { os::writeAll(2, text, n); },
                        [] { abort(); }};
    misuses_ = misuseCount();
    heap_->setDecay(2'000'000'000);  // nothing is given back unless the test asks for it
    ok_ = heap_->init(config);
    size_ = heap_->space.reservedBytes();
    caches_ = (config.max_caches + kSharedCaches) * CachePool::cacheBytes();
  }
  ~TestHeap() {
    EXPECT_EQ(misuses(), 0u) << "misuse was reported";
    base::options.misuse.set(before_);
    if (ok_) unmap(heap_->space, size_, caches_);
  }
  TestHeap(const TestHeap&) = delete;
  TestHeap& operator=(const TestHeap&) = delete;

  bool ok() const { return ok_; }
  Heap& operator*() { return *heap_; }
  Heap* operator->() { return heap_.get(); }
  // Reports since the last call of expectMisuses() or the start.
  uint64_t misuses() const { return misuseCount() - misuses_; }
  void expectMisuses(uint64_t n) {
    EXPECT_EQ(misuses(), n);
    misuses_ = misuseCount();
  }

  // The first broken invariant, "" when there is none.
  std::string broken() {
    const char* bad = heap_->validate();
    return bad != nullptr ? bad : "";
  }
  // Every page that was ever committed is in one state (nothing is being purged right now).
  std::string pagesAddUp() {
    MHeapStats s = heap_->mheap.stats();
    uint64_t sum = s.dirty_pages + s.clean_pages + s.small_pages + s.large_pages;
    if (sum == s.committed_pages) return "";
    return std::to_string(sum) + " of " + std::to_string(s.committed_pages) + " pages";
  }

 private:
  std::unique_ptr<Heap> heap_;
  base::Misuse before_;
  uint64_t misuses_ = 0;
  size_t size_ = 0, caches_ = 0;
  bool ok_ = false;
};

// Gives every byte of a block a value made from its tag; checkPattern finds any that changed.
inline uint8_t patternByte(uint64_t tag, size_t i) {
  return static_cast<uint8_t>((tag * 0x9e3779b97f4a7c15u >> 56) + i * 7);
}
inline void fillPattern(void* p, size_t n, uint64_t tag) {
  uint8_t* b = static_cast<uint8_t*>(p);
  for (size_t i = 0; i < n; i++) b[i] = patternByte(tag, i);
}
inline bool checkPattern(const void* p, size_t n, uint64_t tag) {
  const uint8_t* b = static_cast<const uint8_t*>(p);
  for (size_t i = 0; i < n; i++) {
    if (b[i] != patternByte(tag, i)) return false;
  }
  return true;
}
inline bool allBytes(const void* p, size_t n, uint8_t value) {
  const uint8_t* b = static_cast<const uint8_t*>(p);
  for (size_t i = 0; i < n; i++) {
    if (b[i] != value) return false;
  }
  return true;
}

}  // namespace graft::heap
