// Model of park and ready: the state word is the production template of core/sched/park.h [PARK-A]
// [PARK-B]; the wait queue and the Ms mirror parkOnG0 and readyOn (core/sched/park.cc): change
// both.
//
// A G publishes itself in a queue under a lock, leaves its stack, and its M's g0 commits; a waker
// takes it off the queue and readies it; whoever must queue it puts it on a run queue that a second
// M takes from, and the M that ran it may take it as well.
//
// Checked in every schedule: the G's stack is in use by one M at a time (INV-PARK-1, INV-PARK-2),
// it runs on exactly once per wake, and no wake is lost (a thread would wait forever: deadlock).
#include "core/sched/park.h"

#include <gtest/gtest.h>

#include <memory>

#include "tests/model/checker.h"
#include "tests/model/planted.h"

namespace graft::model {
namespace {

using base::Plant;
using sched::GState;

enum class Fault {
  kNone,
  kPublishFirst,  // in the queue before the state says `parking`
  kCommitBeforeLeaving,  // commits while still on its stack
  kReadyTwice,  // two wakers for one park
};

constexpr int kParks = 2;

struct State {
  sched::ParkWord<ModelAtom> g;
  ModelVar<int> stack{0};  // what the G has on its stack: how often it went on
  Ghost<int> on_stack;  // Ms that execute the G
  ModelMutex queue_mu;  // the wait queue: the G waits, or not
  ModelVar<int> waits{0};
  Atomic<int> runq{0};  // the G is runnable: a queue of one
  Atomic<int> waiting{0};  // the wakers' cue
  Ghost<int> queued;
  Atomic<int> done{0};

  State() {
    label(queue_mu, "queue lock");
    label(waits, "waits");
    label(runq, "runq");
    label(stack, "stack");
    label(on_stack, "on stack");
  }

  void enqueue() {
    MODEL_ASSERT(queued.add(1) == 0);
    runq.storeRelease(1);
  }
  void publish() {
    ModelLock lock(queue_mu);
    waits = 1;
    waiting.storeRelease(1);
  }

  // The G runs to its next park and its M's g0 commits. False: it came to its end.
  bool execute(Fault fault) {
    g.set(GState::kRunning);
    MODEL_ASSERT(on_stack.add(1) == 0);
    int went_on = stack;
    stack = went_on + 1;
    if (went_on == kParks) {
      done.storeRelease(1);
      on_stack.add(-1);
      return false;
    }
    if (fault == Fault::kPublishFirst) {
      publish();
      g.prepare();
    } else {
      g.prepare();
      publish();
    }
    bool parked = fault == Fault::kCommitBeforeLeaving && g.commit();
    int now = stack;  // the last words on its stack: registers are saved
    stack = now;
    on_stack.add(-1);
    if (fault == Fault::kCommitBeforeLeaving ? !parked : !g.commit()) enqueue();
    return true;
  }

  // An M: runs the G whenever it is runnable.
  void machine(Fault fault) {
    for (;;) {
      waitUntil([this] { return runq.loadAcquire() != 0 || done.loadAcquire() != 0; });
      if (done.loadAcquire() != 0) return;
      int one = 1;
      if (!runq.casAcquire(one, 0)) continue;
      queued.add(-1);
      if (!execute(fault)) return;
    }
  }

  void wake(Fault fault) {
    waitUntil([this] { return waiting.loadAcquire() != 0; });
    {
      ModelLock lock(queue_mu);
      MODEL_ASSERT(waits == 1);
      waits = 0;
      waiting.storeRelaxed(0);
    }
    if (g.ready()) enqueue();
    if (fault == Fault::kReadyTwice && g.ready()) enqueue();
  }
};

Result parking(Fault fault = Fault::kNone, int machines = 2, model::Options options = {}) {
  return explore(options, [=](model::Run& run) {
    auto s = std::make_shared<State>();
    s->g.set(GState::kRunnable);
    s->runq.storeRelaxed(1);
    s->queued.exchange(1);
    run.thread("M1", [=] { s->machine(fault); });
    if (machines == 2) run.thread("M2", [=] { s->machine(fault); });
    run.thread("waker", [=] {
      for (int i = 0; i < kParks; i++) s->wake(fault);
    });
    run.finally([=] {
      MODEL_ASSERT(s->done.loadRelaxed() == 1);
      MODEL_ASSERT(s->stack == kParks + 1);
    });
  });
}

TEST(Park, EachWakeRunsTheGOnceAndNoneIsLost) {
  for (int machines : {1, 2}) {
    Result r = parking(Fault::kNone, machines);
    EXPECT_TRUE(r.ok()) << r.trace();
    EXPECT_GE(r.schedules(), machines == 1 ? 5u : 100u);
  }
  Result r = parking(Fault::kNone, 2, {.preemptions = 2});
  EXPECT_TRUE(r.ok()) << r.trace();
}

TEST(Park, PlantedFaultsAreFound) {
  for (Fault f : {Fault::kPublishFirst, Fault::kCommitBeforeLeaving, Fault::kReadyTwice}) {
    EXPECT_TRUE(parking(f).failed()) << static_cast<int>(f);
  }
  for (Plant p : {Plant::kLostWake, Plant::kDoubleRun}) {
    Planted planted(p);
    EXPECT_TRUE(parking().failed()) << static_cast<int>(p);
  }
}

}  // namespace
}  // namespace graft::model
