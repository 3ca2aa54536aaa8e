// Model of the ownership word of a P and of the mcache that stays with the M (ARCHITECTURE fact 4):
// the word is the production template of core/sched/owner.h [OWN-A]; what is done with the caches
// mirrors Sched::enterSlow, retakeP, acquireP (core/sched/handoff.cc, sysmon.cc): change both.
//
// An M runs user code (which uses its mcache with no atomic operation at all) and enters and leaves
// the runtime; sysmon retakes its P at any moment and gives it to another M.
//
// Checked in every schedule: a P's fields are used by one M at a time, each use ordered after the
// one before (INV-OWN-1); an mcache is used by one M at a time, and the pool never holds one that
// somebody uses (INV-OWN-3); a retake hits only the stay it looked at (INV-OWN-4).
#include "core/sched/owner.h"

#include <gtest/gtest.h>

#include <memory>

#include "tests/model/checker.h"
#include "tests/model/planted.h"

namespace graft::model {
namespace {

using base::Plant;
using sched::Hold;
using sched::OwnerValue;

enum class Fault {
  kNone,
  kLoadStoreRetake,  // sysmon looks, then stores
  kTakesRuntime,  // sysmon takes a P whose M is in the runtime
  kDropsIgnored,  // an M goes on although its entry failed
  kGivesBackEarly,  // sysmon itself gives the loser's mcache to the pool
  kLeavesFirst,  // the word says `user` before the M is done with the P
};

constexpr int kCaches = 3;

struct Cache {
  ModelVar<int> slots{0};
  Ghost<int> users;
};

struct State {
  sched::OwnerWord<ModelAtom> word;
  ModelVar<int> queue{0};  // stands for the P's other fields
  ModelVar<int> p_cache{-1};  // the mcache that comes with the P; -1: none
  Ghost<int> holders;
  Cache caches[kCaches];
  ModelMutex pool_mu;
  ModelVar<int> pooled{0b100};  // caches 0 and 1 belong to M1 and (when used) M2's beginning
  Atomic<int> handed{0};  // sysmon has given the P to M2
  Ghost<int> retaken;
};

struct M {
  State& s;
  uint64_t index;
  int cache = -1;
  OwnerValue mine{};
  bool has_p = false;
  Fault fault = Fault::kNone;

  void malloc() {
    Cache& c = s.caches[cache];
    MODEL_ASSERT(c.users.add(1) == 0);
    c.slots = c.slots + 1;
    c.users.add(-1);
  }
  void useP() {
    MODEL_ASSERT(s.holders.add(1) == 0);
    s.queue = s.queue + 1;
    s.holders.add(-1);
  }
  int fromPool() {
    ModelLock lock(s.pool_mu);
    int have = s.pooled;
    MODEL_ASSERT(have != 0);
    int c = __builtin_ctz(static_cast<unsigned>(have));
    s.pooled = have & ~(1 << c);
    return c;
  }
  void toPool(int c) {
    ModelLock lock(s.pool_mu);
    int have = s.pooled;
    MODEL_ASSERT((have >> c & 1) == 0);
    s.pooled = have | 1 << c;
  }
  // The P is mine, in `runtime`: its mcache is, too.
  void acquire() {
    has_p = true;
    cache = s.p_cache;
    if (cache < 0) cache = fromPool();
    s.p_cache = cache;
  }
  // One stay in the runtime: as park, ready or a timer would do it.
  bool runtime() {
    if (!s.word.enter(mine) && fault != Fault::kDropsIgnored) {
      has_p = false;
      if (fault != Fault::kGivesBackEarly) toPool(cache);
      cache = -1;
      return false;
    }
    useP();
    if (fault == Fault::kLeavesFirst) {
      s.word.leave(mine);
      useP();
    } else {
      s.word.leave(mine);
    }
    return true;
  }
};

Result retaking(Fault fault, model::Options options = {}) {
  return explore(options, [=](model::Run& run) {
    auto s = std::make_shared<State>();
    label(s->queue, "queue");
    label(s->p_cache, "P's mcache");
    label(s->pooled, "pool");
    // M1 holds the P, in user code, with mcache 0.
    OwnerValue first = s->word.takeIdle(1);
    s->word.leave(first);
    s->p_cache = 0;
    run.thread("M1", [=] {
      M m{*s, 1, 0, first, true, fault};
      m.malloc();
      if (!m.runtime()) return;
      m.malloc();
      if (!m.runtime()) return;
      m.malloc();
    });
    run.thread("sysmon", [=] {
      OwnerValue seen = s->word.look(), mine{};
      if (fault == Fault::kTakesRuntime && seen.hold() == Hold::kRuntime) {
        mine = OwnerValue::make(OwnerValue::kSysmon, Hold::kRuntime, 9);
        (void)s->word.give(mine, OwnerValue::kSysmon);
      } else if (fault == Fault::kLoadStoreRetake) {
        if (seen.hold() != Hold::kUser) return;
        mine = s->word.give(seen, OwnerValue::kSysmon);
      } else if (!s->word.retake(seen, mine)) {
        return;
      }
      s->retaken.add(1);
      if (fault == Fault::kGivesBackEarly) M{*s, 0}.toPool(s->p_cache);
      if (!base::planted(Plant::kStaleCache)) s->p_cache = -1;
      s->word.give(mine, 2);
      s->handed.storeRelease(1);
    });
    run.thread("M2", [=] {
      if (s->handed.loadAcquire() == 0) return;
      M m{*s, 2, -1, s->word.look(), false, fault};
      m.acquire();
      m.useP();
      s->word.leave(m.mine);
      m.malloc();
      if (m.runtime()) m.malloc();
    });
  });
}

// M1 gives its P up knowingly: its mcache goes along. It comes back and takes the P if it is idle.
Result handingOver(model::Options options = {}) {
  return explore(options, [=](model::Run& run) {
    auto s = std::make_shared<State>();
    OwnerValue first = s->word.takeIdle(1);
    s->word.leave(first);
    s->p_cache = 0;
    run.thread("M1", [=] {
      M m{*s, 1, 0, first, true};
      m.malloc();
      MODEL_ASSERT(s->word.enter(m.mine));
      m.useP();
      s->word.give(m.mine, 2);
      s->handed.storeRelease(1);
    });
    run.thread("M2", [=] {
      if (s->handed.loadAcquire() == 0) return;
      M m{*s, 2, -1, s->word.look(), false};
      m.acquire();
      MODEL_ASSERT(m.cache == 0);
      s->word.leave(m.mine);
      m.malloc();
      m.runtime();
    });
  });
}

// The stay that sysmon looked at is over; a new one of the same M has begun: not that one.
Result staleLook(bool counted) {
  return explore({}, [=](model::Run& run) {
    auto s = std::make_shared<State>();
    OwnerValue first = s->word.takeIdle(1);
    s->word.leave(first);
    auto stay = std::make_shared<Ghost<int>>(1);
    run.thread("M1", [=] {
      OwnerValue mine = first;
      if (!s->word.enter(mine)) return;
      stay->add(1);
      if (!counted) mine = OwnerValue::make(1, Hold::kRuntime, first.count() - 1);
      s->word.leave(mine);
    });
    run.thread("sysmon", [=] {
      OwnerValue seen = s->word.look(), mine{};
      if (seen.hold() != Hold::kUser) return;
      int looked_at = seen == first ? stay->get() : 2;
      if (looked_at == 2 && seen == first && counted) return;  // it moved between the two looks
      if (s->word.retake(seen, mine)) MODEL_ASSERT(stay->get() == looked_at);
    });
  });
}

TEST(Owner, OneMAtATimeAndItsOwnMcache) {
  Result r = retaking(Fault::kNone);
  EXPECT_TRUE(r.ok()) << r.trace();
  EXPECT_GE(r.schedules(), 20u);
  r = retaking(Fault::kNone, {.preemptions = 3});
  EXPECT_TRUE(r.ok()) << r.trace();
  EXPECT_GE(r.schedules(), 500u);
  r = handingOver();
  EXPECT_TRUE(r.ok()) << r.trace();
}

TEST(Owner, ARetakeHitsTheStayItLookedAt) {
  Result r = staleLook(true);
  EXPECT_TRUE(r.ok()) << r.trace();
  EXPECT_TRUE(staleLook(false).failed());
}

TEST(Owner, PlantedFaultsAreFound) {
  for (Fault f : {Fault::kLoadStoreRetake, Fault::kTakesRuntime, Fault::kDropsIgnored,
                  Fault::kGivesBackEarly, Fault::kLeavesFirst}) {
    EXPECT_TRUE(retaking(f).failed()) << static_cast<int>(f);
  }
  for (Plant p : {Plant::kEnterByStore, Plant::kStaleCache}) {
    Planted planted(p);
    EXPECT_TRUE(retaking(Fault::kNone).failed()) << static_cast<int>(p);
  }
}

}  // namespace
}  // namespace graft::model
