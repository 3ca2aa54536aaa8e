// Model of reading a span's shape while others change it [SPAN-A]: the reader is the production
// template readShape (core/heap/span_bits.h), the writer mirrors Span::beginShape and endShape
// (core/heap/span.h): change both together. Lameter's and Boehm's seqlock ("Can seqlocks get along
// with programming language memory models?", 2012) with readers that give up instead of waiting.
//
// Checked in every schedule: a reader never combines fields of two shapes, and never takes a page
// that its page-map entry led it from to a span that does not cover it; readers see shapes in
// order. Not visible here: the fences that only a compiler or a weaker machine needs. TSO keeps
// stores in order and loads in order, so a missing fenceRelease or fenceAcquire changes nothing.
#include <gtest/gtest.h>

#include <memory>

#include "core/heap/span_bits.h"
#include "tests/model/checker.h"

namespace graft::model {
namespace {

enum class Fault {
  kNone,
  kNoBegin,       // the writer only counts up at the end
  kEndTooEarly,   // the writer makes seq even again before the last field
  kNoRecheck,     // the reader does not look at seq again
  kIgnoresOdd,    // the reader takes a shape that is changing
  kNoWriterLock,  // two writers at once
  kEntryFirst,    // the page map names the new span before the span has its shape
  kNoCoverCheck,  // the reader trusts the page map
};

template <Fault kFault>
struct Span {
  Atomic<uint32_t> seq, page, npages, cls;

  void beginShape() {
    if (kFault == Fault::kNoBegin) return;
    seq.storeRelaxed(seq.loadRelaxed() + 1);
    ModelAtom::fenceRelease();
  }
  void endShape() { seq.storeRelease(seq.loadRelaxed() + (kFault == Fault::kNoBegin ? 2 : 1)); }
  void reshape(uint32_t new_page, uint32_t new_npages, uint32_t new_cls) {
    beginShape();
    page.storeRelaxed(new_page);
    npages.storeRelaxed(new_npages);
    if (kFault == Fault::kEndTooEarly) endShape();
    cls.storeRelaxed(new_cls);
    if (kFault != Fault::kEndTooEarly) endShape();
  }
  template <class Read>
  bool read(Read fields) {
    if constexpr (kFault == Fault::kNoRecheck) {
      return (seq.loadAcquire() & 1) == 0 && fields();
    } else if constexpr (kFault == Fault::kIgnoresOdd) {
      uint32_t before = seq.loadAcquire();
      if (!fields()) return false;
      ModelAtom::fenceAcquire();
      return seq.loadRelaxed() == before;
    } else {
      return heap::readShape<ModelAtom>(seq, fields);
    }
  }
};

// Shape n has page n, npages n and class n; two writers make shapes, one reader looks twice.
template <Fault kFault = Fault::kNone>
Result oneSpan(model::Options options = {}) {
  struct State {
    Span<kFault> span;
    ModelMutex mu;
    Ghost<uint32_t> made;
  };
  return explore(options, [](model::Run& run) {
    auto s = std::make_shared<State>();
    s->span.reshape(1, 1, 1);
    s->made.exchange(1);
    label(s->span.seq, "seq");
    label(s->span.page, "page");
    label(s->span.npages, "npages");
    label(s->span.cls, "cls");
    label(s->made, "made");
    for (const char* name : {"W", "V"}) {
      run.thread(name, [=] {
        bool locks = kFault != Fault::kNoWriterLock;
        if (locks) s->mu.lock();
        uint32_t n = s->made.add(1) + 1;
        s->span.reshape(n, n, n);
        if (locks) s->mu.unlock();
      });
    }
    run.thread("R", [=] {
      uint32_t latest = 0;
      for (int look = 0; look < 2; look++) {
        uint32_t page = 0, npages = 0, cls = 0;
        bool good = s->span.read([&] {
          page = s->span.page.loadRelaxed();
          npages = s->span.npages.loadRelaxed();
          cls = s->span.cls.loadRelaxed();
          return true;
        });
        if (!good) continue;
        MODEL_ASSERT(page == npages && page == cls);
        MODEL_ASSERT(page >= latest && page <= s->made.get());
        latest = page;
      }
    });
    run.finally([=] {
      uint32_t last = 0;
      MODEL_ASSERT(s->span.read([&] {
        last = s->span.cls.loadRelaxed();
        return true;
      }));
      MODEL_ASSERT(last == 3 && s->span.page.loadRelaxed() == 3);
    });
  });
}

// Heap::findObject over two pages. First span 1 covers both, class 7; the writer cuts it down to
// page 0, class 8, and gives page 1 to span 2, class 9. Entries of the page map name spans.
template <Fault kFault = Fault::kNone>
Result twoSpans(model::Options options = {}) {
  struct State {
    Atomic<uint32_t> map[2];
    Span<kFault> span[3];
  };
  return explore(options, [](model::Run& run) {
    auto s = std::make_shared<State>();
    s->span[1].reshape(0, 2, 7);
    s->map[0].storeRelaxed(1);
    s->map[1].storeRelaxed(1);
    label(s->map[0], "map0");
    label(s->map[1], "map1");
    label(s->span[1].seq, "span1.seq");
    label(s->span[2].seq, "span2.seq");
    run.thread("W", [=] {
      if (kFault == Fault::kEntryFirst) s->map[1].storeRelease(2);
      s->span[1].reshape(0, 1, 8);
      s->span[2].reshape(1, 1, 9);
      if (kFault != Fault::kEntryFirst) s->map[1].storeRelease(2);
    });
    for (uint32_t at : {0u, 1u}) {
      run.thread(at == 0 ? "R0" : "R1", [=] {
        uint32_t id = s->map[at].loadAcquire();
        Span<kFault>& span = s->span[id];
        uint32_t page = 0, npages = 0, cls = 0;
        bool found = span.read([&] {
          page = span.page.loadRelaxed();
          npages = span.npages.loadRelaxed();
          cls = span.cls.loadRelaxed();
          return kFault == Fault::kNoCoverCheck || (at >= page && at - page < npages);
        });
        // While the shape changes nobody owns an object there, so "nothing" is a right answer; but
        // a span that a page-map entry led to has had a shape.
        if (!found) return;
        MODEL_ASSERT(cls != 0);
        MODEL_ASSERT(at >= page && at - page < npages);
        MODEL_ASSERT(cls == (npages == 2 ? 7u : page == 0 ? 8u : 9u));
      });
    }
  });
}

// A span without a shape covers page 0 for a reader that arrives too early.
template <Fault kFault = Fault::kNone>
Result freshSpan(model::Options options = {}) {
  struct State {
    Atomic<uint32_t> entry;
    Span<kFault> span;
  };
  return explore(options, [](model::Run& run) {
    auto s = std::make_shared<State>();
    s->span.npages.storeRelaxed(1);  // what the record's last use left behind
    s->span.cls.storeRelaxed(99);
    run.thread("W", [=] {
      if (kFault == Fault::kEntryFirst) s->entry.storeRelease(1);
      s->span.reshape(0, 1, 7);
      if (kFault != Fault::kEntryFirst) s->entry.storeRelease(1);
    });
    run.thread("R", [=] {
      if (s->entry.loadAcquire() == 0) return;
      uint32_t cls = 0;
      bool found = s->span.read([&] {
        cls = s->span.cls.loadRelaxed();
        return true;
      });
      MODEL_ASSERT(found && cls == 7);
    });
  });
}

TEST(Seqlock, FieldsOfOneShape) {
  Result r = oneSpan();
  EXPECT_TRUE(r.ok()) << r.trace();
  EXPECT_GE(r.schedules(), 1000u);
  // Once more without the reduction: every schedule with at most two preemptions.
  r = oneSpan({.preemptions = 2});
  EXPECT_TRUE(r.ok()) << r.trace();
  EXPECT_GE(r.schedules(), 1000u);
}

TEST(Seqlock, PageMapToSpan) {
  Result r = twoSpans();
  EXPECT_TRUE(r.ok()) << r.trace();
  EXPECT_GE(r.schedules(), 100u);
  r = freshSpan();
  EXPECT_TRUE(r.ok()) << r.trace();
  EXPECT_GE(r.schedules(), 2u);
}

// By an assertion of the scenario, not by a thread that waits in vain.
bool caught(const Result& r) { return r.failure().find("seqlock_test.cc") == 0; }

TEST(Seqlock, PlantedFaultsAreFound) {
  EXPECT_TRUE(caught(oneSpan<Fault::kNoBegin>()));
  EXPECT_TRUE(caught(oneSpan<Fault::kEndTooEarly>()));
  EXPECT_TRUE(caught(oneSpan<Fault::kNoRecheck>()));
  EXPECT_TRUE(caught(oneSpan<Fault::kIgnoresOdd>()));
  EXPECT_TRUE(caught(oneSpan<Fault::kNoWriterLock>()));
  EXPECT_TRUE(caught(twoSpans<Fault::kNoRecheck>()));
  EXPECT_TRUE(caught(twoSpans<Fault::kNoCoverCheck>()));
  EXPECT_TRUE(caught(freshSpan<Fault::kEntryFirst>()));
}

}  // namespace
}  // namespace graft::model
