// Model of two pairs of full barriers that keep sleepers from sleeping too long. [TIMER-A]: an M
// arms a timer while another becomes the poller, which sleeps until the first timer that it saw;
// mirrors Sched::addTimer, noteTimer, stopM and pollTimers (core/sched/timers.cc, wake.cc).
// [SYSMON-A]: a P is taken from the idle ones while sysmon goes to sleep because all are idle;
// mirrors idleGet and Sysmon::sleepWhileIdle (wake.cc, sysmon.cc). Change both together.
//
// Checked in every schedule: an armed timer has a poller that will wake up in time, or an M that
// was woken to look; a P in use has a sysmon that is awake.
#include <gtest/gtest.h>

#include <memory>

#include "tests/model/checker.h"

namespace graft::model {
namespace {

enum class Fault {
  kNone,
  kNoFence,  // the armer looks for the poller without a barrier
  kPlainScan,  // the poller says that it scans by a plain store
  kNoKickFlag,  // a kick is not remembered: it can fall between scan and sleep
  kForgetsKick,  // no timer found: it leaves without looking at the kick
};

struct Timers {
  Atomic<uint64_t> first{0}, poll_until{0};
  Atomic<int> wake_word{0}, idle{0};
  ModelMutex mu;
  ModelVar<int> poller{0}, idle_listed{0};
  Ghost<int> woken;  // Ms woken by wakep: they look at all timers
  Ghost<uint64_t> sleeps_until;

  void addTimer(Fault fault, uint64_t when) {
    first.storeRelease(when);
    if (fault != Fault::kNoFence) ModelAtom::fenceSeqCst();
    uint64_t until = poll_until.loadRelaxed();
    if (until > 1 && until <= when) return;
    if (until != 0) {
      ModelLock lock(mu);
      if (poller == 1) {
        if (fault != Fault::kNoKickFlag) wake_word.storeRelease(2);
        return;
      }
    }
    if (idle.loadRelaxed() != 0) woken.add(1);
  }

  // One M gives its P up and goes to sleep: as the poller if there is a timer.
  void stopM(Fault fault) {
    idle.fetchAddAcqRel(1);
    {
      ModelLock lock(mu);
      if (first.loadRelaxed() == 0) return;
      poller = 1;
    }
    poll(fault);
  }
  void poll(Fault fault) {
    for (;;) {
      if (fault == Fault::kPlainScan) {
        poll_until.storeRelaxed(1);
      } else {
        poll_until.storeSeqCst(1);
      }
      uint64_t seen = first.loadRelaxed();
      if (seen != 0) {
        poll_until.storeRelease(seen);
        // A futex wait: sleeps only if the word is 0; in the model it then sleeps until `seen`.
        if (wake_word.loadAcquire() == 0) {
          sleeps_until.exchange(seen);
          return;
        }
      }
      ModelLock lock(mu);
      bool kicked = wake_word.exchangeAcquire(0) != 0;
      if (seen != 0 || (kicked && fault != Fault::kForgetsKick)) continue;
      poller = 0;
      poll_until.storeSeqCst(0);
      return;
    }
  }
};

enum class Before {
  kNoTimer,
  kLaterTimer,  // the new one is due earlier
  kRescan,  // a poller has slept for a timer that was due before, and looks for the next one
};

Result arming(Fault fault, Before before, model::Options options = {}) {
  return explore(options, [=](model::Run& run) {
    auto t = std::make_shared<Timers>();
    if (before == Before::kLaterTimer) t->first.storeRelaxed(90);
    if (before == Before::kRescan) {
      t->poller = 1;
      t->idle.storeRelaxed(1);
      t->poll_until.storeRelaxed(5);
    }
    label(t->first, "first");
    label(t->poll_until, "poll_until");
    label(t->wake_word, "wake_word");
    run.thread("armer", [=] { t->addTimer(fault, 10); });
    run.thread("poller", [=] { before == Before::kRescan ? t->poll(fault) : t->stopM(fault); });
    run.finally([=] {
      bool kicked = t->wake_word.loadRelaxed() != 0;
      uint64_t until = t->sleeps_until.get();
      MODEL_ASSERT(t->woken.get() > 0 || kicked || until == 10);
    });
  });
}

// The P is taken and, at the end, still in use; sysmon went round once.
Result takingAP(bool fault) {
  return explore({}, [=](model::Run& run) {
    struct S {
      Atomic<int> idle{1}, waits{0}, word{0};
      Ghost<int> asleep;
    };
    auto s = std::make_shared<S>();
    run.thread("M", [=] {
      s->idle.fetchSubAcqRel(1);
      if (s->waits.loadRelaxed() != 0) s->word.fetchAddRelease(1);
    });
    run.thread("sysmon", [=] {
      if (s->idle.loadRelaxed() != 1) return;
      int seen = s->word.loadAcquire();
      if (fault) {
        s->waits.storeRelaxed(1);
      } else {
        s->waits.storeSeqCst(1);
      }
      // A futex wait; a wake that comes later moves the word.
      if (s->idle.loadRelaxed() == 1) s->asleep.exchange(1 + seen);
    });
    run.finally([=] {
      bool sleeps = s->asleep.get() != 0 && s->word.loadRelaxed() == s->asleep.get() - 1;
      MODEL_ASSERT(!sleeps);
    });
  });
}

TEST(Timer, AnArmedTimerHasSomebodyWhoWakesUpForIt) {
  for (Before before : {Before::kNoTimer, Before::kLaterTimer, Before::kRescan}) {
    Result r = arming(Fault::kNone, before);
    EXPECT_TRUE(r.ok()) << r.trace();
    EXPECT_GE(r.schedules(), 3u);
    r = arming(Fault::kNone, before, {.preemptions = 4});
    EXPECT_TRUE(r.ok()) << r.trace();
    EXPECT_GE(r.schedules(), 30u);
  }
}

TEST(Timer, PlantedFaultsAreFound) {
  EXPECT_TRUE(arming(Fault::kNoFence, Before::kNoTimer).failed());
  EXPECT_TRUE(arming(Fault::kPlainScan, Before::kRescan).failed());
  EXPECT_TRUE(arming(Fault::kNoKickFlag, Before::kLaterTimer).failed());
  EXPECT_TRUE(arming(Fault::kForgetsKick, Before::kRescan).failed());
}

TEST(Sysmon, IsAwakeWhileAPIsInUse) {
  Result r = takingAP(false);
  EXPECT_TRUE(r.ok()) << r.trace();
  EXPECT_TRUE(takingAP(true).failed());
}

}  // namespace
}  // namespace graft::model
