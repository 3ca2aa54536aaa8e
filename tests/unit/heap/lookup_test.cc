// Tests of lookup: classify() for every kind of address, findObject() for every byte of every kind
// of memory, and findObject() while other threads allocate, free, resize and give memory back.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <map>
#include <thread>

#include "core/heap/heap.h"
#include "tests/unit/heap/test_peer.h"

namespace graft::heap {
namespace {

Addr addrOf(const void* p) { return reinterpret_cast<Addr>(p); }

TEST(Classify, EveryKind) {
  TestHeap heap;
  Client client(*heap);
  alignas(16) char local[64];
  EXPECT_EQ(heap->classify(local).kind, AddrKind::kForeign);
  EXPECT_EQ(heap->classify(nullptr).kind, AddrKind::kForeign);
  EXPECT_EQ(heap->classify(reinterpret_cast<void*>(heap->space.base() - 1)).kind,
            AddrKind::kForeign);
  Addr end = heap->space.base() + heap->space.reservedBytes();
  EXPECT_EQ(heap->classify(reinterpret_cast<void*>(end)).kind, AddrKind::kForeign);
  EXPECT_EQ(heap->classify(reinterpret_cast<void*>(end - 1)).kind, AddrKind::kFreePages)
      << "reserved, never used";
  EXPECT_EQ(heap->classify(reinterpret_cast<void*>(heap->space.base())).kind, AddrKind::kFreePages);

  char* small = static_cast<char*>(client.alloc(1000));
  BlockInfo b = heap->classify(small);
  EXPECT_EQ(b.kind, AddrKind::kSmall);
  EXPECT_EQ(b.cls, classFor(1000));
  EXPECT_EQ(b.base, addrOf(small));
  EXPECT_EQ(b.size, classSize(classFor(1000)));
  for (size_t off : {1ul, 8ul, 16ul, b.size - 1}) {
    BlockInfo in = heap->classify(small + off);
    EXPECT_EQ(in.kind, AddrKind::kInterior);
    EXPECT_EQ(in.base, addrOf(small));
    EXPECT_EQ(in.size, b.size);
    EXPECT_EQ(in.index, b.index);
  }

  char* large = static_cast<char*>(client.alloc(100'000));
  b = heap->classify(large);
  EXPECT_EQ(b.kind, AddrKind::kLarge);
  EXPECT_EQ(b.size, pagesFor(100'000) << kPageShift);
  for (size_t off : {size_t{1}, kPageSize, b.size - 1}) {
    BlockInfo in = heap->classify(large + off);
    EXPECT_EQ(in.kind, AddrKind::kInterior);
    EXPECT_EQ(in.base, addrOf(large));
  }
  client.alloc(40'000);  // keeps the span's pages from merging with the rest
  client.free(large);
  for (size_t off = 0; off < b.size; off += 4096) {
    EXPECT_EQ(heap->classify(large + off).kind, AddrKind::kFreePages) << off;
  }

  client.free(small);
  EXPECT_EQ(heap->classify(small).kind, AddrKind::kFreeSlot) << "in the cache";
  client.drain();
  EXPECT_EQ(heap->classify(small).kind, AddrKind::kFreeSlot) << "in the span";
  EXPECT_EQ(heap->classify(small + 5).kind, AddrKind::kFreeSlot) << "nothing lives there";
}

TEST(Classify, NeverGivenSlotsAndTails) {
  TestHeap heap;
  Client client(*heap);
  for (unsigned i = 1; i < kNumClasses; i++) {
    ClassId cls = static_cast<ClassId>(i);
    char* first = static_cast<char*>(client.alloc(classSize(cls)));
    BlockInfo b = heap->classify(first);
    ASSERT_EQ(b.kind, AddrKind::kSmall);
    uint32_t nelems = b.span->nelems.loadRelaxed();
    size_t bytes = size_t{b.span->npages.loadRelaxed()} << kPageShift;
    Addr start = heap->space.addrOf(b.span->page.loadRelaxed());
    char* last = reinterpret_cast<char*>(start + (nelems - 1) * b.size);
    EXPECT_EQ(heap->classify(last).kind, AddrKind::kFreeSlot) << i;
    for (size_t off = nelems * b.size; off < bytes; off += 16) {
      char* tail = reinterpret_cast<char*>(start + off);
      ASSERT_EQ(heap->classify(tail).kind, AddrKind::kTail) << i;
      ASSERT_FALSE(client.free(tail)) << "class " << i;
    }
    // With every page open the tail is just as unusable.
    std::vector<void*> all;
    for (uint32_t k = 1; k < nelems; k++) all.push_back(client.alloc(classSize(cls)));
    for (size_t off = nelems * b.size; off < bytes; off += 16) {
      char* tail = reinterpret_cast<char*>(start + off);
      ASSERT_EQ(heap->classify(tail).kind, AddrKind::kTail) << i;
      ASSERT_FALSE(client.free(tail)) << "class " << i;
    }
  }
  EXPECT_EQ(heap.broken(), "");
}

// A live block may hold the key in its second word: the program has seen it or copied it.
TEST(Classify, LiveBlockThatHoldsTheKey) {
  TestHeap heap;
  Client client(*heap);
  uint64_t* p = static_cast<uint64_t*>(client.alloc(64));
  p[1] = heap->keyOf(classFor(64));
  EXPECT_FALSE(freeFast(client.cache(), p)) << "the fast path cannot know";
  EXPECT_EQ(heap->classify(p).kind, AddrKind::kSmall);
  ObjectRef o;
  ASSERT_TRUE(heap->findObject(addrOf(p), &o));
  EXPECT_TRUE(o.allocated);
  EXPECT_TRUE(client.free(p));
  EXPECT_EQ(heap->classify(p).kind, AddrKind::kFreeSlot);
  EXPECT_FALSE(client.free(p));
  EXPECT_EQ(heap.broken(), "");
}

TEST(Classify, GrowModeLeavesForeignMemoryAlone) {
  Config c = testConfig();
  c.deny_reserve = true;
  TestHeap heap(c);
  if (!heap.ok()) GTEST_SKIP() << "no fixed place for a heap that grows by mapping";
  Client client(*heap);
  char* p = static_cast<char*>(client.alloc(64));
  EXPECT_EQ(heap->classify(p).kind, AddrKind::kSmall);
  // Inside the range, not mapped by us: someone else's, also once the heap has grown past it.
  Addr foreign = heap->space.base() + heap->space.limit() + 64_KiB;
  ASSERT_EQ(os::reserve(64_KiB, foreign), foreign);
  EXPECT_EQ(heap->classify(reinterpret_cast<void*>(foreign)).kind, AddrKind::kForeign);
  char* large = static_cast<char*>(client.alloc(20_MiB));
  ASSERT_GT(addrOf(large), foreign);
  EXPECT_EQ(heap->classify(reinterpret_cast<void*>(foreign)).kind, AddrKind::kForeign);
  EXPECT_FALSE(client.free(reinterpret_cast<void*>(foreign)));
  ObjectRef o;
  EXPECT_FALSE(heap->findObject(foreign, &o));
  EXPECT_TRUE(client.free(large));
  EXPECT_TRUE(client.free(p));
  EXPECT_EQ(heap.broken(), "");
}

// --- every byte ---

void expectObject(Heap& heap, Addr from, size_t size, bool allocated) {
  for (size_t off = 0; off < size; off++) {
    ObjectRef o;
    ASSERT_TRUE(heap.findObject(from + off, &o)) << off;
    ASSERT_EQ(o.base, from) << off;
    ASSERT_EQ(o.size, size) << off;
    ASSERT_EQ(o.allocated, allocated) << off;
  }
}
void expectNothing(Heap& heap, Addr from, size_t size) {
  for (size_t off = 0; off < size; off++) {
    ObjectRef o;
    ASSERT_FALSE(heap.findObject(from + off, &o) && o.allocated) << off;
  }
}

TEST(FindObject, EveryByteOfSmallBlocksOfEachClass) {
  TestHeap heap;
  Client client(*heap);
  for (unsigned i = 1; i < kNumClasses; i++) {
    size_t size = classSizeOf(i);
    char* p[3];
    for (char*& q : p) q = static_cast<char*>(client.alloc(size));
    memset(p[1], 0x77, size);
    expectObject(*heap, addrOf(p[1]), size, true);
    client.free(p[1]);
    expectObject(*heap, addrOf(p[1]), size, false);  // cached
    client.drain();
    expectObject(*heap, addrOf(p[1]), size, false);  // in its span
    expectObject(*heap, addrOf(p[0]), size, true);
    expectObject(*heap, addrOf(p[2]), size, true);
  }
}

TEST(FindObject, EveryByteOfLargeBlocks) {
  TestHeap heap;
  Client client(*heap);
  char* p = static_cast<char*>(client.alloc(33'000));
  char* q = static_cast<char*>(client.alloc(70'000));
  client.alloc(40'000);
  size_t p_size = heap->classify(p).size, q_size = heap->classify(q).size;
  expectObject(*heap, addrOf(p), p_size, true);
  expectObject(*heap, addrOf(q), q_size, true);
  client.free(q);
  expectNothing(*heap, addrOf(q), q_size);
  ASSERT_TRUE(heap->resizeLarge(heap->classify(p), 60'000));
  expectObject(*heap, addrOf(p), pagesFor(60'000) << kPageShift, true);
  ASSERT_TRUE(heap->resizeLarge(heap->classify(p), 33'000));
  expectObject(*heap, addrOf(p), p_size, true);
  expectNothing(*heap, addrOf(p) + p_size, 64'000 - p_size);
}

TEST(FindObject, TailsClosedPagesAndForeignMemory) {
  TestHeap heap;
  Client client(*heap);
  char local[64] = {};
  expectNothing(*heap, addrOf(local), sizeof local);
  expectNothing(*heap, heap->space.base(), kPageSize);
  expectNothing(*heap, heap->space.base() + heap->space.limit(), 4096);
  expectNothing(*heap, 0, 4096);
  expectNothing(*heap, ~Addr{0} - 4095, 4096);
  char* p = static_cast<char*>(client.alloc(5000));
  BlockInfo b = heap->classify(p);
  Addr start = heap->space.addrOf(b.span->page.loadRelaxed());
  size_t bytes = size_t{b.span->npages.loadRelaxed()} << kPageShift;
  size_t used = b.span->nelems.loadRelaxed() * b.size;
  ASSERT_LT(used, bytes);
  ObjectRef o;
  for (size_t off = used; off < bytes; off++) ASSERT_FALSE(heap->findObject(start + off, &o));
  // The slot that starts on a page which no slot was taken from yet.
  expectObject(*heap, start + used - b.size, b.size, false);
  // Pages closed by purge: the same answer before and after.
  client.free(p);
  client.drain();
  heap->purgePartial();
  expectObject(*heap, addrOf(p), b.size, false);
}

// --- against threads ---

struct Pinned {
  Addr base;
  size_t size;
};

// Does at random what a program can do to the heap, until `stop`; returns the number of operations.
uint64_t disturb(Heap& heap, uint64_t seed, const std::atomic<bool>& stop) {
  Client mine(heap);
  Rng r(seed);
  std::vector<void*> blocks, big;
  auto freeOneOf = [&](std::vector<void*>& from) {
    std::swap(from[r.below(from.size())], from.back());
    mine.free(from.back());
    from.pop_back();
  };
  uint64_t n = 0;
  for (; !stop; n++) {
    uint64_t what = r.below(100);
    if (what < 45 && blocks.size() < 3000) {
      size_t size = r.below(3000);
      blocks.push_back(mine.alloc(size));
      memset(blocks.back(), static_cast<int>(n), size);
    } else if (what < 85 && !blocks.empty()) {
      freeOneOf(blocks);
    } else if (what < 90 && big.size() < 30) {
      big.push_back(mine.alloc(33'000 + r.below(200'000)));
    } else if (what < 94 && !big.empty()) {
      freeOneOf(big);
    } else if (what < 97 && !big.empty()) {
      heap.resizeLarge(heap.classify(big.back()), 33'000 + r.below(200'000));
    } else if (what == 97) {
      mine.drain();
    } else if (what == 98 && r.below(20) == 0) {
      heap.trim();
    } else if (what == 99 && r.below(20) == 0) {
      heap.purgePartial();
    }
  }
  for (void* p : blocks) mine.free(p);
  for (void* p : big) mine.free(p);
  mine.drain();
  return n;
}

// Blocks that stay, with freed ones between them.
std::vector<Pinned> pinSome(Heap& heap, Client& client, Rng& rng) {
  std::vector<Pinned> pinned;
  for (int i = 0; i < 2000; i++) {
    size_t size = i % 40 == 0 ? 33'000 + rng.below(100'000) : rng.below(3000);
    void* p = client.alloc(size);
    BlockInfo b = heap.classify(p);
    if (i % 3 != 0) {
      client.free(p);
      continue;
    }
    pinned.push_back({b.base, b.size});
    fillPattern(p, b.size, b.base);
    if (i % 30 == 0)
      static_cast<uint64_t*>(p)[1] = heap.keyOf(b.cls);  // the worst a program can hold
  }
  client.drain();
  return pinned;
}

bool answersTruly(Heap& heap, const Pinned& p, size_t offset) {
  ObjectRef o;
  if (!heap.findObject(p.base + offset, &o)) return false;
  BlockInfo info = heap.classify(reinterpret_cast<void*>(p.base));
  return o.base == p.base && o.size == p.size && o.allocated &&
         (info.kind == AddrKind::kSmall || info.kind == AddrKind::kLarge);
}

// Whatever the answer is, it describes a slot of one class or a block of whole pages around `a`.
bool isConsistent(Heap& heap, Addr a, const ObjectRef& o) {
  bool sound =
      o.base <= a && a - o.base < o.size && o.span != nullptr && heap.space.contains(o.base);
  bool small = o.size != 0 && o.size <= kMaxSmall && classSize(classFor(o.size)) == o.size;
  bool large = o.size % kPageSize == 0 && o.base % kPageSize == 0 && o.index == 0;
  return sound && (small || large);
}

// This thread holds some blocks and knows what is true of them all the while two others disturb the
// heap; for every other address the answer must be consistent in itself.
TEST(FindObjectRace, AnswersStayTrueWhileOthersWork) {
  TestHeap heap;
  Client client(*heap);
  Rng rng(4);
  std::vector<Pinned> pinned = pinSome(*heap, client, rng);
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> ops{0};
  std::thread a([&] { ops += disturb(*heap, 11, stop); });
  std::thread b([&] { ops += disturb(*heap, 12, stop); });
  auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  uint64_t asked = 0, found = 0, wrong = 0, inconsistent = 0;
  while (std::chrono::steady_clock::now() < end) {
    for (int i = 0; i < 200; i++) {
      const Pinned& p = pinned[rng.below(pinned.size())];
      wrong += !answersTruly(*heap, p, rng.below(p.size));
      Addr any = heap->space.base() + rng.below(heap->space.limit());
      ObjectRef o;
      asked++;
      if (!heap->findObject(any, &o)) continue;
      found++;
      inconsistent += !isConsistent(*heap, any, o);
    }
  }
  stop = true;
  a.join();
  b.join();
  EXPECT_EQ(wrong, 0u) << "of pinned blocks";
  EXPECT_EQ(inconsistent, 0u);
  EXPECT_GT(found, asked / 20) << "the test has to hit something";
  EXPECT_GT(ops, 10'000u);
  EXPECT_EQ(heap.broken(), "");
}

}  // namespace
}  // namespace graft::heap
