// Model of the local run queue: the production template of core/sched/runq.h [RUNQ-A] [RUNQ-B] with
// small rings, an owner that puts and gets, and thieves.
//
// Checked in every schedule: every item is taken exactly once, by the owner, a thief or the
// overflow batch (INV-RUNQ-2), what a thief did not take is still in the queue, and an item's
// contents are ordered after what its submitter wrote (a ModelVar per item).
#include "core/sched/runq.h"

#include <gtest/gtest.h>

#include <memory>

#include "tests/model/checker.h"
#include "tests/model/planted.h"

namespace graft::model {
namespace {

using base::Plant;

constexpr int kItems = 8;

template <uint32_t kSize>
struct State {
  using Queue = sched::RunQueue<ModelAtom, uint32_t, kSize>;
  Queue mine, thief[2];
  Ghost<int> taken[kItems];
  ModelVar<int> contents[kItems];
  Ghost<int> overflowed;

  void put(uint32_t item) {
    contents[item] = 1;
    typename Queue::Overflow over;
    if (mine.put(item, over)) return;
    overflowed.add(1);
    for (uint32_t i = 0; i < over.n; i++) take(over.items[i]);
  }
  void putNext(uint32_t item) {
    contents[item] = 1;
    uint32_t old = mine.putNext(item);
    if (old != 0) put(old);
  }
  void take(uint32_t item) {
    if (item == 0) return;
    MODEL_ASSERT(taken[item].add(1) == 0);
    MODEL_ASSERT(contents[item].get() == 1);
  }
  void get() {
    bool inherited;
    take(mine.get(inherited));
  }
  void drain(Queue& q) {
    bool inherited;
    for (uint32_t item = q.get(inherited); item != 0; item = q.get(inherited)) {
      MODEL_ASSERT(taken[item].add(1) == 0);
    }
    MODEL_ASSERT(q.empty() && q.size() == 0);
  }
  void check(uint32_t last) {
    drain(mine);
    for (Queue& q : thief) drain(q);
    for (uint32_t i = 1; i <= last; i++) MODEL_ASSERT(taken[i].get() == 1);
  }
};

// The owner puts `puts` items, taking one in between; `thieves` steal once each.
template <uint32_t kSize>
Result stealing(uint32_t puts, int thieves, model::Options options = {}) {
  return explore(options, [=](model::Run& run) {
    auto s = std::make_shared<State<kSize>>();
    run.thread("owner", [=] {
      for (uint32_t i = 1; i <= puts; i++) {
        s->put(i);
        if (i == 2) s->get();
      }
      s->get();
    });
    for (int t = 0; t < thieves; t++) {
      run.thread("thief", [=] { s->take(s->thief[t].steal(s->mine, false)); });
    }
    run.finally([=] { s->check(puts); });
  });
}

// Items 1 and 2 lie in the ring; 3 and 4 are made next; thieves may take next.
template <uint32_t kSize>
Result stealingNext(model::Options options = {}) {
  return explore(options, [=](model::Run& run) {
    auto s = std::make_shared<State<kSize>>();
    s->put(1);
    run.thread("owner", [=] {
      s->putNext(2);
      s->putNext(3);
      s->get();
    });
    for (int t = 0; t < 2; t++) {
      run.thread("thief", [=] { s->take(s->thief[t].steal(s->mine, true)); });
    }
    run.finally([=] { s->check(3); });
  });
}

// A full ring of four overflows while a thief takes half of it.
Result overflowing(model::Options options = {}) {
  return explore(options, [=](model::Run& run) {
    auto s = std::make_shared<State<4>>();
    for (uint32_t i = 1; i <= 4; i++) s->put(i);
    run.thread("owner", [=] {
      s->put(5);
      s->get();
    });
    run.thread("thief", [=] { s->take(s->thief[0].steal(s->mine, false)); });
    run.finally([=] { s->check(5); });
  });
}

TEST(RunQueue, EveryItemIsTakenOnce) {
  Result r = stealing<4>(3, 1);
  EXPECT_TRUE(r.ok()) << r.trace();
  EXPECT_GE(r.schedules(), 20u);
  r = stealing<2>(4, 1);  // overflows and wraps
  EXPECT_TRUE(r.ok()) << r.trace();
  r = stealing<4>(3, 2);
  EXPECT_TRUE(r.ok()) << r.trace();
  EXPECT_GE(r.schedules(), 500u);
  r = stealingNext<4>();
  EXPECT_TRUE(r.ok()) << r.trace();
  r = overflowing();
  EXPECT_TRUE(r.ok()) << r.trace();
}

TEST(RunQueue, PlantedFaultsAreFound) {
  {
    Planted planted(Plant::kStealByStore);
    EXPECT_TRUE((stealing<4>(3, 1).failed()));
  }
  Planted planted(Plant::kLostHalf);
  EXPECT_TRUE(overflowing().failed());
}

}  // namespace
}  // namespace graft::model
