// Model of a small span's life: slots given back by any thread without a lock, taken with the class
// lock held, the span listed, unlisted and released. The bit and count operations are the
// production templates of core/heap/span_bits.h [SPAN-B]; the lock half mirrors Heap::settle,
// refill, releaseIfEmpty and endCycle (core/heap/central.cc, collect.cc): change both together.
//
// Checked in every schedule: no slot is handed out twice or lost; nfree never exceeds the set bits
// (INV-SPAN-2); with nothing in flight a span is listed exactly when it has free slots
// (INV-SPAN-6); an empty span is released exactly once, when nobody holds a slot and no flush will
// touch it again; no span is released while a cycle is active (HZ-SPAN).
#include "core/heap/span_bits.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "tests/model/checker.h"

namespace graft::model {
namespace {

enum class Fault {
  kNone,
  kCountFirst,  // account() before give()
  kTornOr,  // give() as load and store
  kOnlyFromZero,  // became_partial only when nfree was exactly 0
  kNoSecondLook,  // released without looking at nfree again under the lock
  kNoListedCheck,  // listed although it is on the list
  kUnlistsBlindly,  // a released span is taken off a list that it is not on
  kDoubleHandOut,  // take() leaves a slot it returns
  kUnlockedRefill,  // refill without the class lock
  kSubtractFirst,  // refill subtracts before it clears bits, and counts what it asked for
  kReshapeInCycle,  // released although a cycle is active
  kIdleAfterWalk,  // endCycle walks the list before it declares the cycle over
  kIgnoresDoubleFree  // a bit that was set already is counted again
};

using Base = heap::SpanBits<ModelAtom>;

template <Fault kFault>
struct Bits : Base {
  static uint64_t give(Word& word, uint64_t mask) {
    if constexpr (kFault == Fault::kTornOr) {
      uint64_t old = word.loadAcquire();
      word.storeRelease(old | mask);
      return old & mask;
    } else {
      return Base::give(word, mask);
    }
  }
  static Effect account(Count& nfree, int32_t k, int32_t nelems) {
    if constexpr (kFault == Fault::kOnlyFromZero) {
      int32_t prev = nfree.fetchAddAcqRel(k);
      return {prev == 0, prev + k == nelems};
    } else {
      return Base::account(nfree, k, nelems);
    }
  }
  static uint64_t take(Word& word, unsigned max) {
    uint64_t took = Base::take(word, max);
    if (kFault == Fault::kDoubleHandOut && took != 0) word.fetchOrAcqRel(took & -took);
    return took;
  }
};

constexpr int kWords = 2;
constexpr int kSlotsPerWord = 2;  // slot i is bit i % 2 of word i / 2
constexpr int kGone = -1000;  // nfree of a released span

enum State : int { kFree, kSmall };

template <Fault kFault>
struct Class {
  using B = Bits<kFault>;

  // The span.
  B::Word words[kWords];
  B::Count nfree;
  Atomic<int> state{kSmall};
  ModelVar<int> listed{0};
  // The class and the heap.
  ModelMutex mu;
  Atomic<int> cycle{0};
  // What must be true.
  int nelems;
  bool recarve = false;  // a released span is cut anew at once
  Ghost<int> holders[kWords * kSlotsPerWord];
  Ghost<int> releases;
  Ghost<int> double_frees;

  // Slots of `held` are handed out, the others are free.
  Class(int slots, std::vector<int> held) : nelems(slots) {
    uint64_t out = 0;
    for (int i : held) {
      out |= uint64_t{1} << i;
      holders[i].exchange(1);
    }
    int free = 0;
    for (int i = 0; i < slots; i++) {
      if ((out >> i & 1) != 0) continue;
      B::give(words[i / kSlotsPerWord], uint64_t{1} << (i % kSlotsPerWord));
      free++;
    }
    nfree.storeRelaxed(free);
    listed = free > 0 ? 1 : 0;
    label(words[0], "word0");
    label(words[1], "word1");
    label(nfree, "nfree");
    label(state, "state");
    label(listed, "listed");
    label(mu, "class lock");
    label(cycle, "cycle");
    label(releases, "releases");
    for (auto& h : holders) label(h, "holder");
  }

  void list() {
    MODEL_ASSERT(listed == 0);
    listed = 1;
  }
  void unlist() {
    MODEL_ASSERT(listed == 1);
    listed = 0;
  }

  // Heap::giveBack. The program's free: from here on the caller does not hold the slots.
  void flush(int word, uint64_t mask, bool held = true) {
    for (int b = 0; b < kSlotsPerWord; b++) {
      if (held && (mask >> b & 1) != 0) holders[word * kSlotsPerWord + b].exchange(0);
    }
    int32_t k = static_cast<int32_t>(base::popcount(mask));
    if constexpr (kFault == Fault::kCountFirst) {
      auto effect = B::account(nfree, k, nelems);
      B::give(words[word], mask);
      settle(effect);
      return;
    }
    if (uint64_t twice = B::give(words[word], mask); twice != 0) {
      double_frees.add(1);
      if (kFault != Fault::kIgnoresDoubleFree) mask &= ~twice;
      if (mask == 0) return;
      k = static_cast<int32_t>(base::popcount(mask));
    }
    settle(B::account(nfree, k, nelems));
  }

  void settle(typename B::Effect effect) {
    if (!effect.became_partial && !effect.maybe_empty) return;
    ModelLock lock(mu);
    if (state.loadRelaxed() != kSmall) return;
    if ((listed == 0 || kFault == Fault::kNoListedCheck) && nfree.loadRelaxed() > 0) list();
    if (effect.maybe_empty) releaseIfEmpty();
  }

  void releaseIfEmpty() {
    if (nfree.loadRelaxed() != nelems && kFault != Fault::kNoSecondLook) return;
    if (cycle.loadAcquire() != 0 && kFault != Fault::kReshapeInCycle) return;
    for (int i = 0; i < nelems; i++) MODEL_ASSERT(holders[i].get() == 0);
    for (int w = 0; w < kWords; w++) {
      MODEL_ASSERT(words[w].loadRelaxed() == allBits(w));
      words[w].storeRelaxed(0);
    }
    MODEL_ASSERT(cycle.loadAcquire() == 0);
    // Flushes count without the lock: nfree can have been 0 when settle() looked and be nelems now,
    // with the flusher that wants to list the span still waiting for the lock.
    if (listed == 1 || kFault == Fault::kUnlistsBlindly) unlist();
    nfree.storeRelaxed(kGone);
    state.storeRelaxed(kFree);
    releases.add(1);
    if (recarve) newSpan();
  }

  // Heap::newSpan, for the record that was just released.
  void newSpan() {
    nfree.storeRelaxed(0);
    state.storeRelaxed(kSmall);
    for (int w = 0; w < kWords; w++) {
      if (allBits(w) != 0) B::give(words[w], allBits(w));
    }
    B::account(nfree, nelems, nelems);
    list();
  }

  // Heap::refill: returns the slots, which the caller then holds.
  std::vector<int> refill(unsigned want) {
    std::vector<int> got;
    bool locks = kFault != Fault::kUnlockedRefill;
    if (locks) mu.lock();
    if (listed == 1) {
      int32_t n = nfree.loadAcquire(), bits = 0;
      for (auto& w : words) bits += static_cast<int32_t>(base::popcount(w.loadRelaxed()));
      MODEL_ASSERT(n <= bits);  // takes are locked out, so bits can only have grown since
      int32_t t = 0;
      bool full = false;
      if (kFault == Fault::kSubtractFirst) {
        t = static_cast<int32_t>(want);
        full = B::accountTaken(nfree, t);
      }
      for (int w = 0; w < kWords && got.size() < want; w++) {
        uint64_t took = B::take(words[w], want - static_cast<unsigned>(got.size()));
        for (; took != 0; took &= took - 1) {
          got.push_back(w * kSlotsPerWord + static_cast<int>(base::lowestBit(took)));
        }
      }
      if (kFault != Fault::kSubtractFirst) {
        t = static_cast<int32_t>(got.size());
        full = B::accountTaken(nfree, t);
      }
      if (full) unlist();
    }
    if (locks) mu.unlock();
    for (int i : got) MODEL_ASSERT(holders[i].exchange(1) == 0);
    return got;
  }

  void giveBackAll(const std::vector<int>& slots) {
    for (int w = 0; w < kWords; w++) {
      uint64_t mask = 0;
      for (int i : slots) {
        if (i / kSlotsPerWord == w) mask |= uint64_t{1} << (i % kSlotsPerWord);
      }
      if (mask != 0) flush(w, mask);
    }
  }

  // Heap::endCycle for this class.
  void endCycle() {
    if (kFault != Fault::kIdleAfterWalk) cycle.storeRelease(0);
    mu.lock();
    if (listed == 1 && kFault != Fault::kIdleAfterWalk) releaseIfEmpty();
    mu.unlock();
    if (kFault == Fault::kIdleAfterWalk) cycle.storeRelease(0);
  }

  uint64_t allBits(int w) const {
    int slots = nelems - w * kSlotsPerWord;
    return base::maskBelow(slots < 0 ? 0u : static_cast<unsigned>(slots < 2 ? slots : 2));
  }

  // Nothing in flight.
  void check() {
    int held = 0, bits = 0;
    for (int i = 0; i < nelems; i++) {
      int free =
          static_cast<int>(words[i / kSlotsPerWord].loadRelaxed() >> (i % kSlotsPerWord) & 1);
      int h = holders[i].get();
      MODEL_ASSERT(h + free <= 1);
      held += h;
      bits += free;
    }
    if (state.loadRelaxed() == kFree) {
      MODEL_ASSERT(releases.get() == 1);
      MODEL_ASSERT(held == 0 && bits == 0 && listed == 0);
      MODEL_ASSERT(nfree.loadRelaxed() == kGone);
      return;
    }
    MODEL_ASSERT(held + bits == nelems);
    MODEL_ASSERT(nfree.loadRelaxed() == bits);
    MODEL_ASSERT(listed == (bits > 0 ? 1 : 0));
    MODEL_ASSERT(bits < nelems || recarve || cycle.loadRelaxed() != 0);
  }
};

using Options = model::Options;

// Two threads give the last two slots back.
template <Fault kFault = Fault::kNone>
Result lastTwo(Options options = {}) {
  return explore(options, [](model::Run& run) {
    auto s = std::make_shared<Class<kFault>>(2, std::vector<int>{0, 1});
    run.thread("A", [=] { s->flush(0, 1); });
    run.thread("B", [=] { s->flush(0, 2); });
    run.finally([=] {
      s->check();
      MODEL_ASSERT(s->releases.get() == 1);
    });
  });
}

// Two flushers against one refill; the refilled slots come back or stay.
template <Fault kFault = Fault::kNone>
Result refillAgainstFlush(bool comes_back, bool recarve = false, Options options = {}) {
  return explore(options, [=](model::Run& run) {
    auto s = std::make_shared<Class<kFault>>(3, std::vector<int>{0, 2});
    s->recarve = recarve;
    run.thread("A", [=] { s->flush(0, 1); });
    run.thread("B", [=] { s->flush(1, 1); });
    run.thread("R", [=] {
      std::vector<int> got = s->refill(2);
      if (comes_back) s->giveBackAll(got);
    });
    run.finally([=] {
      s->check();
      if (comes_back && !recarve) MODEL_ASSERT(s->releases.get() == 1);
    });
  });
}

// nfree goes below zero for a moment: R takes a slot whose flush has not been counted yet.
template <Fault kFault = Fault::kNone>
Result transientlyNegative(Options options = {}) {
  return explore(options, [](model::Run& run) {
    auto s = std::make_shared<Class<kFault>>(4, std::vector<int>{0, 1, 2});
    run.thread("A", [=] { s->flush(0, 3); });
    run.thread("B", [=] { s->flush(1, 1); });
    run.thread("R", [=] { s->refill(4); });
    run.finally([=] { s->check(); });
  });
}

// Two refills compete while a slot comes back.
template <Fault kFault = Fault::kNone>
Result twoRefills(Options options = {}) {
  return explore(options, [](model::Run& run) {
    auto s = std::make_shared<Class<kFault>>(3, std::vector<int>{0});
    run.thread("A", [=] { s->flush(0, 1); });
    for (const char* name : {"R", "S"}) {
      run.thread(name, [=] { s->refill(2); });
    }
    run.finally([=] { s->check(); });
  });
}

// Two threads that take and give back, two that only give back; in the end the span is released.
template <Fault kFault = Fault::kNone>
Result crowd(Options options = {}) {
  return explore(options, [](model::Run& run) {
    auto s = std::make_shared<Class<kFault>>(4, std::vector<int>{0, 1, 2});
    run.thread("A", [=] { s->flush(0, 3); });
    run.thread("B", [=] { s->flush(1, 1); });
    for (const char* name : {"R", "S"}) {
      run.thread(name, [=] { s->giveBackAll(s->refill(2)); });
    }
    run.finally([=] {
      s->check();
      MODEL_ASSERT(s->releases.get() == 1);
    });
  });
}

// Both threads free the same slot, a third thread's slot stays out.
template <Fault kFault = Fault::kNone>
Result doubleFree(Options options = {}) {
  return explore(options, [](model::Run& run) {
    auto s = std::make_shared<Class<kFault>>(2, std::vector<int>{0, 1});
    run.thread("A", [=] { s->flush(0, 1); });
    run.thread("B", [=] { s->flush(0, 1); });
    run.finally([=] {
      s->check();
      MODEL_ASSERT(s->double_frees.get() == 1);
    });
  });
}

// A span becomes empty while a cycle ends.
template <Fault kFault = Fault::kNone>
Result emptyInCycle(bool ends, Options options = {}) {
  return explore(options, [=](model::Run& run) {
    auto s = std::make_shared<Class<kFault>>(2, std::vector<int>{0, 1});
    s->cycle.storeRelaxed(1);
    run.thread("A", [=] { s->flush(0, 1); });
    run.thread("B", [=] { s->flush(0, 2); });
    if (ends) run.thread("collector", [=] { s->endCycle(); });
    run.finally([=] {
      s->check();
      MODEL_ASSERT(s->releases.get() == (ends ? 1 : 0));
    });
  });
}

TEST(SpanFree, LastTwoSlots) {
  Result r = lastTwo();
  EXPECT_TRUE(r.ok()) << r.trace();
  EXPECT_GE(r.schedules(), 4u);
  r = lastTwo({.reduce = false});
  EXPECT_TRUE(r.ok()) << r.trace();
  EXPECT_GE(r.schedules(), 50u);
}

TEST(SpanFree, RefillAgainstFlush) {
  Result r = refillAgainstFlush(false);
  EXPECT_TRUE(r.ok()) << r.trace();
  EXPECT_GE(r.schedules(), 50u);
  r = refillAgainstFlush(true);
  EXPECT_TRUE(r.ok()) << r.trace();
  EXPECT_GE(r.schedules(), 400u);
  // Once more without the reduction: every schedule with at most two preemptions.
  r = refillAgainstFlush(true, false, {.preemptions = 2});
  EXPECT_TRUE(r.ok()) << r.trace();
  EXPECT_GE(r.schedules(), 1000u);
}

TEST(SpanFree, ReleasedRecordIsCutAnewAtOnce) {
  Result r = refillAgainstFlush(true, true);
  EXPECT_TRUE(r.ok()) << r.trace();
  EXPECT_GE(r.schedules(), 400u);
}

TEST(SpanFree, CountBelowZero) {
  Result r = transientlyNegative();
  EXPECT_TRUE(r.ok()) << r.trace();
  EXPECT_GE(r.schedules(), 50u);
}

TEST(SpanFree, TwoRefills) {
  Result r = twoRefills();
  EXPECT_TRUE(r.ok()) << r.trace();
  EXPECT_GE(r.schedules(), 20u);
}

TEST(SpanFree, Crowd) {
  Result r = crowd();
  EXPECT_TRUE(r.ok()) << r.trace();
  EXPECT_GE(r.schedules(), 10000u);
}

TEST(SpanFree, DoubleFreeIsSeenOnce) {
  Result r = doubleFree();
  EXPECT_TRUE(r.ok()) << r.trace();
  EXPECT_GE(r.schedules(), 2u);
}

TEST(SpanFree, EmptiedInACycle) {
  Result r = emptyInCycle(false);
  EXPECT_TRUE(r.ok()) << r.trace();
  r = emptyInCycle(true);
  EXPECT_TRUE(r.ok()) << r.trace();
  EXPECT_GE(r.schedules(), 20u);
}

// By an assertion of the scenario or a data race, not by a thread that waits in vain.
bool caught(const Result& r) {
  return r.failure().find("span_free_test.cc") == 0 || r.failure().find("data race on listed") == 0;
}

TEST(SpanFree, PlantedFaultsAreFound) {
  EXPECT_TRUE(caught(lastTwo<Fault::kCountFirst>()));
  EXPECT_TRUE(caught(lastTwo<Fault::kTornOr>()));
  EXPECT_TRUE(caught(transientlyNegative<Fault::kOnlyFromZero>()));
  EXPECT_TRUE(caught(refillAgainstFlush<Fault::kNoSecondLook>(true)));
  EXPECT_TRUE(caught(refillAgainstFlush<Fault::kNoListedCheck>(true)));
  EXPECT_TRUE(caught(crowd<Fault::kUnlistsBlindly>()));
  EXPECT_TRUE(caught(twoRefills<Fault::kDoubleHandOut>()));
  EXPECT_TRUE(caught(twoRefills<Fault::kUnlockedRefill>()));
  EXPECT_TRUE(caught(transientlyNegative<Fault::kSubtractFirst>()));
  EXPECT_TRUE(caught(emptyInCycle<Fault::kReshapeInCycle>(true)));
  EXPECT_TRUE(caught(emptyInCycle<Fault::kIdleAfterWalk>(true)));
  EXPECT_TRUE(caught(doubleFree<Fault::kIgnoresDoubleFree>()));
}

}  // namespace
}  // namespace graft::model
