// Model of the wake protocol: the counters are the production template of core/sched/wake.h
// [WAKE-A] [WAKE-B]; the queue is the production run queue; submitting and giving up mirror
// readyOn, wakep and findRunnable (core/sched/wake.cc, schedule.cc): change both.
//
// A submitter, which holds one of two Ps, puts items on its queue and goes on with other things; a
// spinning M that found nothing gives its P up, counts itself out and looks again.
//
// Checked in every schedule: at the end no item lies on the queue while a P is idle and nobody was
// woken for it (INV-WAKE-1). Under sequential consistency the version without the fence passes:
// the store buffers are what finds it.
#include "core/sched/wake.h"

#include <gtest/gtest.h>

#include <memory>

#include "core/sched/runq.h"
#include "tests/model/checker.h"
#include "tests/model/planted.h"

namespace graft::model {
namespace {

using base::Plant;

enum class Fault {
  kNone,
  kIdleLast,  // looks again before the P is idle
  kLooksFirst,  // looks at the queues, then counts itself out
  kNotGlobal,  // looks at the local queues only when it looks again
};

struct State {
  sched::WakeState<ModelAtom> wake;
  sched::RunQueue<ModelAtom, uint32_t, 4> queue, own;
  ModelMutex mu;
  Atomic<int> global{0};  // the global queue's length; written under mu
  Ghost<int> woken;  // Ms started by the submitter
  Ghost<int> ran;

  void submit(uint32_t item, bool next) {
    sched::RunQueue<ModelAtom, uint32_t, 4>::Overflow over;
    if (next) {
      item = queue.putNext(item);
      if (item != 0) queue.put(item, over);
    } else {
      queue.put(item, over);
    }
    if (wake.mustWake(!next || item != 0)) woken.add(1);
  }

  // From a thread without a P.
  void submitGlobal() {
    mu.lock();
    global.storeRelaxed(global.loadRelaxed() + 1);
    mu.unlock();
    if (wake.mustWake(false)) woken.add(1);
  }
  bool fromGlobal() {
    if (global.loadRelaxed() == 0) return false;
    global.storeRelaxed(global.loadRelaxed() - 1);
    ran.add(1);
    return true;
  }
  bool anything(Fault fault) {
    return !queue.empty() || (fault != Fault::kNotGlobal && global.loadRelaxed() != 0);
  }

  bool steal() {
    uint32_t item = own.steal(queue, true);
    if (item == 0) return false;
    ran.add(1);
    return true;
  }

  // False: there was something on the global queue after all.
  bool becomeIdle() {
    ModelLock lock(mu);
    if (fromGlobal()) return false;
    wake.idleInc();
    return true;
  }

  void spin(Fault fault) {
    while (true) {
      if (steal()) {
        wake.found();
        return;
      }
      bool something = false;
      if (fault == Fault::kLooksFirst) something = anything(fault);
      if (fault != Fault::kIdleLast && !becomeIdle()) {
        wake.found();
        return;
      }
      wake.gaveUp();
      if (fault != Fault::kLooksFirst && !base::planted(Plant::kNoRecheck)) {
        something = anything(fault);
      }
      if (fault == Fault::kIdleLast && !becomeIdle()) return;
      if (!something) return;
      ModelLock lock(mu);
      wake.idleDec();
      wake.again();
    }
  }
};

Result submittingGlobally(Fault fault, model::Options options = {}) {
  return explore(options, [=](model::Run& run) {
    auto s = std::make_shared<State>();
    s->wake.again();  // M2 spins
    run.thread("foreign", [=] { s->submitGlobal(); });
    run.thread("M2", [=] { s->spin(fault); });
    run.finally([=] {
      bool waits = s->global.loadRelaxed() != 0;
      MODEL_ASSERT(!(waits && s->wake.idle() > 0 && s->woken.get() == 0));
    });
  });
}

Result submitting(Fault fault, bool next, int items, model::Options options = {}) {
  return explore(options, [=](model::Run& run) {
    auto s = std::make_shared<State>();
    s->wake.again();  // M2 spins
    run.thread("M1", [=] {
      for (int i = 1; i <= items; i++) s->submit(static_cast<uint32_t>(i), next);
    });
    run.thread("M2", [=] { s->spin(fault); });
    run.finally([=] {
      bool waits = !s->queue.empty();
      MODEL_ASSERT(!(waits && s->wake.idle() > 0 && s->woken.get() == 0));
      MODEL_ASSERT(s->wake.spinning() == s->woken.get());
    });
  });
}

TEST(Wake, NoWorkWaitsBesideAnIdleP) {
  for (bool next : {false, true}) {
    Result r = submitting(Fault::kNone, next, 1);
    EXPECT_TRUE(r.ok()) << r.trace();
    EXPECT_GE(r.schedules(), 5u);
    r = submitting(Fault::kNone, next, 2, {.preemptions = 3});
    EXPECT_TRUE(r.ok()) << r.trace();
    EXPECT_GE(r.schedules(), 200u);
  }
}

TEST(Wake, NoWorkWaitsOnTheGlobalQueueBesideAnIdleP) {
  Result r = submittingGlobally(Fault::kNone);
  EXPECT_TRUE(r.ok()) << r.trace();
  EXPECT_GE(r.schedules(), 5u);
  EXPECT_TRUE(submittingGlobally(Fault::kNotGlobal).failed());
}

TEST(Wake, PlantedFaultsAreFound) {
  EXPECT_TRUE(submitting(Fault::kLooksFirst, false, 1).failed());
  EXPECT_TRUE(submitting(Fault::kIdleLast, false, 1).failed());
  {
    Planted planted(Plant::kNoRecheck);
    EXPECT_TRUE(submitting(Fault::kNone, false, 1).failed());
  }
  Planted planted(Plant::kNoWakeFence);
  EXPECT_TRUE(submitting(Fault::kNone, false, 1).failed());
  // What a checker without store buffers would say.
  EXPECT_TRUE(submitting(Fault::kNone, false, 1, {.store_buffers = false}).ok());
}

}  // namespace
}  // namespace graft::model
