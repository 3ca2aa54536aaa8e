// Tests of allocation and freeing through caches: which slot comes next, that live blocks never
// overlap (against a map of intervals), the key in free slots, what caches keep, blocks that change
// threads, and spans that return to the page heap.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "core/heap/heap.h"
#include "tests/unit/heap/test_peer.h"

namespace graft::heap {
namespace {

uint64_t second(void* p) { return static_cast<uint64_t*>(p)[1]; }

TEST(Alloc, KeyIsNoAddressAndNoSmallNumber) {
  TestHeap a, b;
  ASSERT_TRUE(a.ok() && b.ok());
  for (uint64_t key : {a->key, b->key}) {
    EXPECT_EQ(key >> 62, 2u) << "not canonical";
  }
  EXPECT_NE(a->key, b->key);
}

TEST(Alloc, EverySizeIsUsableAndAligned) {
  TestHeap heap;
  Client client(*heap);
  for (size_t size = 0; size <= 40'000; size += size < 2000 ? 1 : 129) {
    char* p = static_cast<char*>(client.alloc(size));
    ASSERT_NE(p, nullptr);
    ASSERT_EQ(reinterpret_cast<Addr>(p) % 16, 0u);
    BlockInfo b = heap->classify(p);
    ASSERT_EQ(b.base, reinterpret_cast<Addr>(p));
    ASSERT_GE(b.size, size);
    if (size <= kMaxSmall) {
      ASSERT_EQ(usableFast(*heap, p), b.size);
    } else {
      ASSERT_EQ(usableFast(*heap, p), 0u) << "large blocks are not free's fast path";
    }
    memset(p, 1, b.size);
    ASSERT_TRUE(client.free(p));
  }
  EXPECT_EQ(heap.broken(), "");
}

TEST(Alloc, LastFreedIsNextGiven) {
  TestHeap heap;
  Client client(*heap);
  for (size_t size : {16, 100, 1000, 10'000, 32'768}) {
    std::vector<void*> p;
    for (int i = 0; i < 2; i++) p.push_back(client.alloc(size));
    client.free(p[0]);
    client.free(p[1]);
    EXPECT_EQ(client.alloc(size), p[1]) << size;
    EXPECT_EQ(client.alloc(size), p[0]) << size;
  }
}

TEST(Alloc, FreshSlotsComeInAddressOrder) {
  TestHeap heap;
  Client client(*heap);
  for (size_t size : {16, 48, 160, 3000, 9000}) {
    char* last = nullptr;
    size_t slot = classSize(classFor(size));
    for (size_t i = 0; i < 16_KiB / slot + 2; i++) {
      char* p = static_cast<char*>(client.alloc(size));
      if (last != nullptr) {
        EXPECT_EQ(p, last + slot) << size;
      }
      last = p;
      if (i + 1 >= 16_KiB / slot) break;  // the first span may end here
    }
  }
}

TEST(Alloc, KeyMarksExactlyTheFreeSlots) {
  TestHeap heap;
  Client client(*heap);
  std::vector<void*> p;
  for (int i = 0; i < 500; i++) {
    p.push_back(client.alloc(80));
    EXPECT_NE(second(p.back()), heap->keyOf(classFor(80)));
  }
  for (void* q : p) {
    client.free(q);
    EXPECT_EQ(second(q), heap->keyOf(classFor(80)));
  }
  client.drain();
  EXPECT_EQ(heap.broken(), "");
}

TEST(Alloc, SecondFreeLeavesTheFastPathAndIsSeen) {
  TestHeap heap;
  Client client(*heap);
  void* p = client.alloc(64);
  EXPECT_TRUE(client.free(p));
  EXPECT_FALSE(freeFast(client.cache(), p));
  EXPECT_EQ(heap->classify(p).kind, AddrKind::kFreeSlot);
  EXPECT_FALSE(client.free(p));
  client.drain();
  EXPECT_FALSE(client.free(p));
  EXPECT_EQ(heap->classify(p).kind, AddrKind::kFreeSlot);
  EXPECT_EQ(heap.broken(), "");
}

// The program wrote over the key between the two frees; the flush finds the pair.
TEST(Alloc, SecondFreeWithTheKeyOverwrittenIsFoundAtFlush) {
  TestHeap heap;
  Client client(*heap);
  void* keep = client.alloc(64);  // so that the span stays
  void* p = client.alloc(64);
  EXPECT_TRUE(client.free(p));
  static_cast<uint64_t*>(p)[1] = 12345;
  EXPECT_TRUE(client.free(p)) << "looks like a live block";
  client.drain();
  heap.expectMisuses(1);
  EXPECT_EQ(heap.broken(), "");
  std::set<void*> seen;
  for (int i = 0; i < 1000; i++) {
    EXPECT_TRUE(seen.insert(client.alloc(64)).second) << "one slot in two hands";
  }
  client.free(keep);
}

// A heap too large for the processor's caches: free() does not look, the slot goes to nobody twice.
TEST(Alloc, SecondFreeInALargeHeapIsFoundBeforeReuse) {
  TestHeap heap;
  Client client(*heap);
  std::vector<void*> fill;
  for (int i = 0; i < 20'000; i++) fill.push_back(client.alloc(400));
  void* keep = client.alloc(64);
  void* p = client.alloc(64);
  EXPECT_TRUE(client.free(p));
  EXPECT_TRUE(client.free(p)) << "not seen at the call";
  std::set<void*> seen{keep};
  for (int i = 0; i < 1000; i++) {
    EXPECT_TRUE(seen.insert(client.alloc(64)).second) << "one slot in two hands";
  }
  heap.expectMisuses(1);
  for (void* q : fill) client.free(q);
  EXPECT_EQ(heap.broken(), "");
}

// The same, and between the two uses its span goes back and is cut for another class.
TEST(Alloc, SecondFreeOfASlotWhoseSpanIsCutAnew) {
  TestHeap heap;
  Client client(*heap), other(*heap);
  std::vector<void*> fill, mine;
  for (int i = 0; i < 20'000; i++) fill.push_back(client.alloc(400));
  for (int i = 0; i < 3000; i++) mine.push_back(client.alloc(48));
  for (void* p : mine) client.free(p);
  client.drain();
  void* stale = client.alloc(48);
  EXPECT_TRUE(client.free(stale));
  client.drain();
  EXPECT_TRUE(freeFast(other.cache(), stale)) << "its page still hands out slots of this class";
  heap->trim();
  std::vector<void*> large;
  auto page = [](void* p) { return reinterpret_cast<Addr>(p) >> kPageShift; };
  while (large.empty() || page(large.back()) != page(stale)) {
    ASSERT_LT(large.size(), 100'000u) << "the pages were not cut anew";
    large.push_back(client.alloc(208));
  }
  other.drain();
  heap.expectMisuses(1);
  EXPECT_EQ(heap.broken(), "");
  for (void* q : large) client.free(q);
  for (void* q : fill) client.free(q);
  EXPECT_EQ(heap.broken(), "");
}

TEST(Alloc, WriteAfterFreeIsReportedAtReuse) {
  TestHeap heap;
  Client client(*heap);
  void* p = client.alloc(64);
  client.free(p);
  static_cast<uint64_t*>(p)[1] = 7;
  EXPECT_EQ(mallocFast(client.cache(), classFor(64)), nullptr);
  EXPECT_NE(client.alloc(64), p) << "whoever wrote to it may do so again";
  heap.expectMisuses(1);
}

TEST(Alloc, CheckTopsLooksAtTheNextSlots) {
  TestHeap heap;
  Client client(*heap);
  void* p = client.alloc(64);
  client.free(p);
  heap->checkTops(client.cache());
  heap.expectMisuses(0);
  static_cast<uint64_t*>(p)[1] = 7;
  heap->checkTops(client.cache());
  heap.expectMisuses(1);
  EXPECT_EQ(client.alloc(64), p) << "repaired, reported once";
  heap.expectMisuses(0);
}

TEST(Alloc, InteriorForeignAndWildPointersAreRefused) {
  TestHeap heap;
  Client client(*heap);
  for (size_t size : {16, 144, 2000, 20'000, 100'000}) {
    char* p = static_cast<char*>(client.alloc(size));
    memset(p, 0x41, size);
    for (size_t off = 1; off < size; off += size / 15 + 1) {
      EXPECT_FALSE(client.free(p + off)) << size << " + " << off;
      EXPECT_TRUE(allBytes(p, size, 0x41)) << "nothing changes before the decision";
    }
    EXPECT_TRUE(client.free(p));
  }
  alignas(16) char local[64] = {};
  EXPECT_FALSE(client.free(local));
  EXPECT_FALSE(client.free(nullptr));
  EXPECT_FALSE(client.free(reinterpret_cast<void*>(heap->space.base())));
  EXPECT_FALSE(client.free(reinterpret_cast<void*>(heap->space.base() + heap->space.limit())));
  EXPECT_FALSE(client.free(reinterpret_cast<void*>(~Addr{0} & ~Addr{15})));
  EXPECT_EQ(heap.broken(), "");
}

TEST(Alloc, RefillsEnlargeAStackAndFlushesShrinkIt) {
  TestHeap heap;
  Client client(*heap);
  ClassId cls = classFor(64);
  size_t start = client.cache().capacity(cls);
  std::vector<void*> p;
  for (int i = 0; i < 4000; i++) p.push_back(client.alloc(64));
  EXPECT_EQ(client.cache().capacity(cls), kClasses.info[cls].cache_max);
  EXPECT_GT(client.cache().refills, 10u);
  while (p.size() > 2000) {
    client.free(p.back());
    p.pop_back();
  }
  EXPECT_EQ(client.cache().capacity(cls), kClasses.info[cls].cache_max)
      << "a burst shrinks nothing";
  for (int i = 0; i < 20'000; i++) p.push_back(client.alloc(64));
  for (void* q : p) client.free(q);
  EXPECT_LE(client.cache().capacity(cls),
            std::max<size_t>(start * 2, kClasses.info[cls].cache_max / 8));
  EXPECT_LE(client.cache().count(cls), client.cache().capacity(cls));
}

TEST(Alloc, ThreadThatOnlyFreesHoardsNothing) {
  TestHeap heap;
  Client maker(*heap);
  MCache* cache = heap->caches.acquire(4096, selfTid());
  Client freer(*heap, cache);
  for (int round = 0; round < 5; round++) {
    std::vector<void*> p;
    for (size_t size : {16, 64, 256, 1024, 8192}) {
      for (int i = 0; i < 3000; i++) p.push_back(maker.alloc(size));
    }
    for (void* q : p) ASSERT_TRUE(freer.free(q));
    uint64_t bound = 0;
    for (size_t size : {16, 64, 256, 1024, 8192}) {
      ClassId cls = classFor(size);
      size_t most = std::max<size_t>(kClasses.info[cls].cache_start, 4_KiB / classSize(cls));
      EXPECT_LE(cache->count(cls), most);
      bound += most * classSize(cls);
    }
    EXPECT_LE(cache->cachedBytes(), bound);
  }
  EXPECT_LT(cache->flushes, 5 * 5 * 3000u) << "and gives back in batches";
  EXPECT_EQ(heap.broken(), "");
}

TEST(Alloc, DrainGivesEverythingBack) {
  TestHeap heap;
  Client client(*heap);
  Rng rng(3);
  std::vector<void*> p;
  for (int i = 0; i < 20'000; i++) p.push_back(client.alloc(rng.below(5000)));
  for (void* q : p) client.free(q);
  client.drain();
  EXPECT_EQ(client.cache().cachedBytes(), 0u);
  EXPECT_EQ(heap.broken(), "");
  heap->trim();
  HeapStats st = heap->stats();
  EXPECT_EQ(st.spans, 0u);
  EXPECT_EQ(st.pages.small_pages, 0u);
  EXPECT_EQ(st.pages.dirty_pages, 0u);
  EXPECT_EQ(st.pages.clean_pages, st.pages.committed_pages);
  EXPECT_EQ(heap.broken(), "");
}

// One empty span per class is kept against flutter, not more.
TEST(Alloc, EmptySpansReturnButOne) {
  TestHeap heap;
  Client client(*heap);
  std::vector<void*> p;
  for (int i = 0; i < 10'000; i++) p.push_back(client.alloc(64));
  size_t full = heap->stats().spans;
  EXPECT_GT(full, 5u);
  for (void* q : p) client.free(q);
  client.drain();
  EXPECT_EQ(heap->stats().spans, 1u);
  EXPECT_EQ(heap.broken(), "");
  // Taking and giving one slot at a time does not go through the page heap.
  uint64_t committed = heap->stats().pages.committed_pages;
  for (int i = 0; i < 1000; i++) {
    client.free(client.alloc(64));
    client.drain();
    ASSERT_EQ(heap->stats().spans, 1u);
  }
  EXPECT_EQ(heap->stats().pages.committed_pages, committed);
}

// --- against a map of live intervals ---

struct Live {
  size_t size;
  uint64_t tag;
};

class Intervals {
 public:
  bool add(Addr a, size_t n, uint64_t tag) {
    auto next = live.lower_bound(a);
    if (next != live.end() && next->first < a + n) return false;
    if (next != live.begin()) {
      auto before = std::prev(next);
      if (before->first + before->second.size > a) return false;
    }
    live[a] = {n, tag};
    return true;
  }
  std::map<Addr, Live> live;
};

TEST(AllocProperty, LiveBlocksNeverOverlap) {
  TestHeap heap;
  Client client(*heap);
  Intervals ref;
  std::vector<Addr> order;
  Rng rng(77);
  constexpr int kOps = kAsan || kTsan ? 60'000 : 150'000;
  for (int i = 0; i < kOps; i++) {
    uint64_t what = rng.below(1000);
    bool grow = i / 15'000 % 2 == 0;
    if (order.empty() || what < (grow ? 600u : 420u)) {
      size_t size = rng.below(20) != 0 ? rng.below(600) : rng.below(90'000);
      void* p = client.alloc(size);
      ASSERT_NE(p, nullptr);
      ASSERT_TRUE(ref.add(reinterpret_cast<Addr>(p), size != 0 ? size : 1, rng.next()));
      fillPattern(p, size, ref.live[reinterpret_cast<Addr>(p)].tag);
      order.push_back(reinterpret_cast<Addr>(p));
    } else if (what < 995) {
      std::swap(order[rng.below(order.size())], order.back());
      auto it = ref.live.find(order.back());
      size_t n = it->second.size == 1 ? 0 : it->second.size;
      ASSERT_TRUE(checkPattern(reinterpret_cast<void*>(it->first), n, it->second.tag));
      ASSERT_TRUE(client.free(reinterpret_cast<void*>(it->first)));
      ASSERT_EQ(heap->classify(reinterpret_cast<void*>(it->first)).kind == AddrKind::kSmall ||
                    heap->classify(reinterpret_cast<void*>(it->first)).kind == AddrKind::kLarge,
                false);
      ref.live.erase(it);
      order.pop_back();
    } else if (what < 997) {
      client.drain();
    } else if (what < 998) {
      heap->purgePartial();
    } else {
      heap->trim();
    }
    if (i % 5000 == 4999) {
      ASSERT_EQ(heap.broken(), "");
      ASSERT_EQ(heap.pagesAddUp(), "");
    }
  }
  for (auto [a, l] : ref.live) {
    size_t n = l.size == 1 ? 0 : l.size;
    ASSERT_TRUE(checkPattern(reinterpret_cast<void*>(a), n, l.tag));
    ASSERT_TRUE(client.free(reinterpret_cast<void*>(a)));
  }
  client.drain();
  heap->trim();
  EXPECT_EQ(heap.broken(), "");
  EXPECT_EQ(heap->stats().spans, 0u);
}

// Blocks wander between threads through a table; contents and exclusivity are checked on the way.
TEST(AllocThreads, BlocksChangeHands) {
  TestHeap heap;
  struct Place {
    std::mutex mu;
    void* block = nullptr;
    size_t size = 0;
    uint64_t tag = 0;
  };
  constexpr size_t kPlaces = 512;
  std::vector<Place> table(kPlaces);
  std::atomic<int> wrong{0};
  constexpr int kOps = kAsan || kTsan ? 60'000 : 200'000;
  auto work = [&](uint64_t id) {
    Client client(*heap);
    Rng rng(id);
    for (int i = 0; i < kOps; i++) {
      Place& place = table[rng.below(kPlaces)];
      size_t size = rng.below(50) != 0 ? 1 + rng.below(400) : 1 + rng.below(60'000);
      void* fresh = client.alloc(size);
      uint64_t tag = rng.next();
      fillPattern(fresh, size, tag);
      void* old;
      size_t old_size;
      uint64_t old_tag;
      {
        std::lock_guard<std::mutex> lock(place.mu);
        old = std::exchange(place.block, fresh);
        old_size = std::exchange(place.size, size);
        old_tag = std::exchange(place.tag, tag);
      }
      if (old == nullptr) continue;
      if (!checkPattern(old, old_size, old_tag)) wrong++;
      if (!client.free(old)) wrong++;
      if (i % 1000 == 0) client.drain();
      if (i % 5000 == 0) heap->trim();
    }
    client.drain();
  };
  std::vector<std::thread> threads;
  for (uint64_t id = 1; id <= 3; id++) threads.emplace_back(work, id);
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(heap.broken(), "");
  EXPECT_EQ(heap.pagesAddUp(), "");
  Client client(*heap);
  for (Place& p : table) {
    if (p.block == nullptr) continue;
    EXPECT_TRUE(checkPattern(p.block, p.size, p.tag));
    EXPECT_TRUE(client.free(p.block));
  }
  client.drain();
  heap->trim();
  EXPECT_EQ(heap->stats().spans, 0u);
  EXPECT_EQ(heap.broken(), "");
}

}  // namespace
}  // namespace graft::heap
