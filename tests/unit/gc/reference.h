// The slow, exact marker that the fast one is held against, and random heaps to hold them against
// each other on. Written from the definition alone: an object is reached if a root word or an
// aligned word of a reached object is an address inside it. Shares only Heap::findObject() with the
// marker under test, which looks objects up by itself.
#pragma once

#include <fcntl.h>

#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "core/gc/mark.h"
#include "tests/unit/heap/test_peer.h"

namespace graft::gc {

// confirm: at any byte, with any upper bits, and as glibc mangles words in their place.
inline std::set<Addr> reachable(heap::Heap& heap, const std::vector<uint64_t>& roots,
                                bool confirm = false, uint64_t guard = 0) {
  std::set<Addr> reached;
  std::vector<Addr> grey;
  auto meet = [&](uint64_t word) {
    heap::ObjectRef o;
    if (!heap.findObject(word, &o) || !o.allocated) return;
    if (reached.insert(o.base).second) grey.push_back(o.base);
  };
  for (uint64_t w : roots) meet(w);
  while (!grey.empty()) {
    heap::ObjectRef o;
    heap.findObject(grey.back(), &o);
    grey.pop_back();
    constexpr uint64_t kAddress = (uint64_t{1} << 47) - 1;
    for (size_t at = 0; at + 8 <= o.size; at += confirm ? 1 : 8) {
      uint64_t word;
      memcpy(&word, reinterpret_cast<void*>(o.base + at), 8);
      meet(confirm ? word & kAddress : word);
      if (confirm && at % 8 == 0) meet(((word >> 17 | word << 47) ^ guard) & kAddress);
    }
  }
  return reached;
}

// Blocks of all sizes full of pointers of every kind that a program may hold, and of words that are
// none but look like it.
class RandomHeap {
 public:
  RandomHeap(heap::Heap& heap, uint64_t seed) : heap_(heap), client_(heap), rng_(seed) {}

  void grow(size_t n) {
    for (size_t i = 0; i < n; i++) {
      size_t size = rng_.below(400) == 0  ? rng_.below(3'000'000)
                    : rng_.below(30) == 0 ? rng_.below(heap::kMaxSmall)
                                          : rng_.below(300);
      char* p = static_cast<char*>(client_.alloc(size));
      if (p == nullptr) continue;
      blocks_.push_back({p, size});
    }
    for (const Block& b : blocks_) fill(b);
  }
  // Frees some, and writes other pointers into some of the rest.
  void mutate() {
    for (size_t i = 0; i < blocks_.size() / 5; i++) {
      size_t at = rng_.below(blocks_.size());
      client_.free(blocks_[at].p);
      blocks_[at] = blocks_.back();
      blocks_.pop_back();
    }
    for (const Block& b : blocks_) {
      if (rng_.below(3) == 0) fill(b);
    }
  }
  // Nothing but pointers that only a confirm scan finds, some of them across 4 KiB borders.
  void hide(size_t n, uint64_t guard) {
    for (const Block& b : blocks_) memset(b.p, 0, b.size);
    for (size_t i = 0; i < n; i++) {
      const Block& in = blocks_[rng_.below(blocks_.size())];
      if (in.size < 32) continue;
      uint64_t w = reinterpret_cast<uint64_t>(blocks_[rng_.below(blocks_.size())].p);
      size_t at = rng_.below(in.size - 15);
      switch (rng_.below(3)) {
        case 0: w |= rng_.next() << 47; break;
        case 1:
          w ^= guard;
          w = w << 17 | w >> 47;
          at &= ~size_t{7};
          break;
        default: at |= 1;
      }
      if (in.size > 20000 && rng_.below(2) == 0) {
        at = (rng_.below(in.size / 4096 - 1) + 1) * 4096 - 1 - rng_.below(7);
      }
      memcpy(in.p + at, &w, 8);
    }
  }
  std::vector<uint64_t> roots(size_t n) {
    std::vector<uint64_t> out;
    while (out.size() < n) out.push_back(word());
    return out;
  }
  // The blocks whose mark differs from the reference's, as text; "" when there is none.
  std::string compare(const std::set<Addr>& reached) {
    size_t missing = 0, extra = 0, total = 0;
    heap_.forEachSpan([&](heap::Span* s) {
      using heap::SpanState;
      SpanState state = s->state.loadRelaxed();
      if (state != SpanState::kSmall && state != SpanState::kLarge) return;
      uint32_t n = state == SpanState::kLarge ? 1 : s->nelems.loadRelaxed();
      for (uint32_t i = 0; i < n; i++) {
        Addr a = heap_.space.addrOf(s->page.loadRelaxed());
        if (state == SpanState::kSmall) a += size_t{i} * heap::classSize(s->cls.loadRelaxed());
        heap::ObjectRef o;
        if (!heap_.findObject(a, &o) || !o.allocated) continue;
        total++;
        bool is = heap::Heap::isMarked(s, i), should = reached.count(a) != 0;
        missing += should && !is;
        extra += is && !should;
      }
    });
    if (missing == 0 && extra == 0) return "";
    return std::to_string(missing) + " not marked, " + std::to_string(extra) + " too many, of " +
           std::to_string(total);
  }
  heap::Client& client() { return client_; }
  size_t size() const { return blocks_.size(); }

 private:
  struct Block {
    char* p;
    size_t size;
  };

  uint64_t word() {
    const Block& b = blocks_[rng_.below(blocks_.size())];
    uint64_t at = reinterpret_cast<uint64_t>(b.p);
    size_t usable = b.size <= heap::kMaxSmall ? heap::classSize(heap::classFor(b.size))
                                              : pagesFor(b.size) << kPageShift;
    switch (rng_.below(10)) {
      case 0: return at + usable - 1;  // the last byte
      case 1: return at + usable;  // the next object, if there is one
      case 2: return at - 1;
      case 3: return at + rng_.below(usable);
      case 4: return heap_.space.base() + rng_.below(heap_.space.limit() + 100'000);
      case 5: return rng_.next();
      case 6: return 0;
      default: return at;
    }
  }
  void fill(const Block& b) {
    // Large blocks stay mostly untouched: their pages are not even there.
    size_t words = b.size / 8, step = b.size > heap::kMaxSmall ? 3001 : 1;
    for (size_t i = rng_.below(step); i < words; i += step) {
      uint64_t w = rng_.below(4) == 0 ? word() : rng_.below(1000);
      memcpy(b.p + i * 8, &w, 8);
    }
  }

  heap::Heap& heap_;
  heap::Client client_;
  heap::Rng rng_;
  std::vector<Block> blocks_;
};

// The marker with everything it needs, over given root words, on so many threads.
class MarkRun {
 public:
  MarkRun() {
    ok_ = pool_.init(64_MiB) && pages_.open(false);
    shared_.mem_fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    roots_.use({ranges_.data(), jobs_.data(), ranges_.size(), out_.data(), out_.size(), nullptr, 0,
                text_.data(), text_.size()});
  }
  ~MarkRun() {
    close(static_cast<int>(shared_.mem_fd));
    pages_.close();
    os::release(pool_.base(), pool_.reserved());
  }
  MarkRun(const MarkRun&) = delete;
  MarkRun& operator=(const MarkRun&) = delete;

  static constexpr uint64_t kGuard = 0x123456789abcdef;

  bool ok() const { return ok_; }
  GreyPool& pool() { return pool_; }
  uint32_t rescans() const { return rescans_; }

  MarkCounts mark(heap::Heap& heap, const std::vector<uint64_t>& roots, uint32_t workers,
                  FilterKind filter = bestFilter(), bool confirm = false) {
    roots_.begin(heap.space.base(), heap.space.limit(), heap.space.reservedBytes());
    shared_.heap = &heap;
    shared_.roots = &roots_;
    shared_.pool = &pool_;
    shared_.pages = &pages_;
    shared_.filter = filterOf(filter);
    shared_.confirm = confirm;
    shared_.pointer_guard = kGuard;
    // What is mapped is read for what cannot be of the heap; the roots are the given words alone.
    EXPECT_EQ(roots_.build(), nullptr);
    shared_.next_job.storeRelaxed(1u << 30);
    pool_.clearOverflow();
    pool_.beginMark(workers);
    while (markers_.size() < workers) markers_.push_back(std::make_unique<Marker>());
    for (uint32_t i = 0; i < workers; i++) markers_[i]->begin(shared_);
    for (uint64_t w : roots) markers_[0]->rootWord(w);
    std::vector<std::thread> threads;
    for (uint32_t i = 1; i < workers; i++) {
      threads.emplace_back([this, i] { markers_[i]->run(); });
    }
    markers_[0]->run();
    for (std::thread& t : threads) t.join();
    for (rescans_ = 0; pool_.overflowed(); rescans_++) {
      pool_.clearOverflow();
      markers_[0]->rescan();
    }
    MarkCounts sum;
    for (uint32_t i = 0; i < workers; i++) {
      sum.objects += markers_[i]->counts().objects;
      sum.bytes += markers_[i]->counts().bytes;
    }
    pool_.shrink();
    return sum;
  }

  // The end of a cycle, as for a stopped world.
  static uint64_t sweep(heap::Heap& heap) {
    heap.finishMark(heap::SweepMode::kDetect);
    heap.caches.forEach([&heap](heap::MCache& c) { heap.acknowledge(c); });
    uint64_t white = heap.sweepAll();
    heap.endCycle();
    return white;
  }

 private:
  bool ok_ = false;
  GreyPool pool_;
  PageMap pages_;
  std::vector<RootSet::Job> ranges_ = std::vector<RootSet::Job>(16384);
  std::vector<uint32_t> jobs_ = std::vector<uint32_t>(16385);
  std::vector<RootSet::Range> out_ = std::vector<RootSet::Range>(64);
  std::vector<char> text_ = std::vector<char>(16_KiB);
  RootSet roots_;
  Marker::Shared shared_;
  uint32_t rescans_ = 0;
  std::vector<std::unique_ptr<Marker>> markers_;
};

}  // namespace graft::gc
