// Model of the STW handshake (HZ-UNAWARE): each M's half is the production template of
// core/sched/stop.h [STW-A] [STW-B], its signal handler included, which may run between any two
// steps of its M; stopping, parking and starting mirror core/sched/world.cc: change both.
//
// An M goes in and out of the runtime, parks in the scheduler and is woken; the stopper signals it
// unless it is parked, and waits until it is acknowledged or parked.
//
// Checked in every schedule: while the world counts as stopped no M executes user code or runtime
// code (INV-STW-1, INV-STW-2), what the M wrote is visible to the stopper and the other way round
// (ModelVar), and everybody gets to the end (no lost request, no lost restart).
#include "core/sched/stop.h"

#include <gtest/gtest.h>

#include <memory>

#include "tests/model/checker.h"
#include "tests/model/planted.h"

namespace graft::model {
namespace {

using base::Plant;

enum class Fault {
  kNone,
  kLooksFirst,  // leave looks for a request, then says that it is outside
  kParkedLeaves,  // a parked M is let out while the world is stopped
  kStaleAck,  // the stopper takes the acknowledgement of an earlier stop
};

struct State {
  sched::StopPoint<ModelAtom> m;
  sched::StopPoint<ModelAtom>::Epoch epoch{0};
  Atomic<int> signal{0};
  ModelMutex mu;
  Atomic<int> parked{0};  // written under mu
  ModelVar<int> memory{0};  // what the M writes, the stopper reads and writes
  Ghost<int> stopped;
  Fault fault;

  explicit State(Fault f) : fault(f) {
    label(epoch, "epoch");
    label(signal, "signal");
    label(mu, "sched lock");
    label(parked, "parked");
    label(memory, "memory");
    label(stopped, "stopped");
  }

  // Between two steps of the M a signal may be delivered.
  void point() {
    if (signal.loadAcquire() == 0) return;
    signal.exchangeAcqRel(0);
    if (m.handle()) standStill();
  }
  void standStill() {
    m.standStill(epoch, [this](uint32_t was) {
      waitUntil([this, was] { return epoch.loadAcquire() != was; });
    });
  }
  void execute() {
    MODEL_ASSERT(stopped.get() == 0);
    memory = memory + 1;
  }

  void user() {
    point();
    execute();
  }
  void runtime(bool parks) {
    auto step = [this] { point(); };
    m.enter(step);
    execute();
    if (parks) park();
    point();
    bool due = false;
    if (fault == Fault::kLooksFirst) {
      due = m.requested();
      point();
      m.leave([] {});
    } else {
      due = m.leave(step);
    }
    if (due) standStill();
  }
  // Sleeps until somebody hands it a P, which nobody does while the world is stopped.
  void park() {
    mu.lock();
    parked.storeRelease(1);
    mu.unlock();
    for (;;) {
      mu.lock();
      uint32_t now = epoch.loadRelaxed();
      if ((now & 1) == 0 || fault == Fault::kParkedLeaves) {
        parked.storeRelaxed(0);
        mu.unlock();
        break;
      }
      mu.unlock();
      waitUntil([this, now] { return epoch.loadAcquire() != now; });
    }
    execute();
  }

  void stopTheWorld(uint32_t e) {
    mu.lock();
    epoch.storeRelease(e);
    bool parks = parked.loadRelaxed() != 0;
    mu.unlock();
    if (!parks) {
      signal.storeRelease(1);
      uint32_t enough = fault == Fault::kStaleAck && e > 1 ? e - 2 : e;
      waitUntil([this, e, enough] {
        return m.stopped(e) || m.stopped(enough) || parked.loadAcquire() != 0;
      });
    }
    stopped.exchange(1);
    memory = memory + 1;
    stopped.exchange(0);
    mu.lock();
    epoch.storeRelease(e + 1);
    mu.unlock();
  }
};

Result stopping(Fault fault, bool parks, uint32_t stops, model::Options options = {}) {
  return explore(options, [=](model::Run& run) {
    auto s = std::make_shared<State>(fault);
    run.thread("M", [=] {
      s->m.leave([] {});
      s->user();
      s->runtime(parks);
      s->user();
      while (s->epoch.loadAcquire() != 2 * stops) {
        waitUntil(
            [=] { return s->signal.loadAcquire() != 0 || s->epoch.loadAcquire() == 2 * stops; });
        s->user();
      }
    });
    run.thread("stopper", [=] {
      for (uint32_t i = 0; i < stops; i++) s->stopTheWorld(2 * i + 1);
    });
    run.finally([=] { MODEL_ASSERT(s->epoch.loadRelaxed() == 2 * stops); });
  });
}

TEST(Stop, NoMRunsInAStoppedWorld) {
  for (bool parks : {false, true}) {
    Result r = stopping(Fault::kNone, parks, 1);
    EXPECT_TRUE(r.ok()) << r.trace();
    EXPECT_GE(r.schedules(), 5u);
    r = stopping(Fault::kNone, parks, 2, {.preemptions = 3});
    EXPECT_TRUE(r.ok()) << r.trace();
    EXPECT_GE(r.schedules(), 500u);
  }
}

TEST(Stop, PlantedFaultsAreFound) {
  EXPECT_TRUE(stopping(Fault::kLooksFirst, false, 1).failed());
  EXPECT_TRUE(stopping(Fault::kParkedLeaves, true, 1).failed());
  EXPECT_TRUE(stopping(Fault::kStaleAck, false, 2).failed());
  Planted planted(Plant::kCountedStopped);
  EXPECT_TRUE(stopping(Fault::kNone, false, 1).failed());
}

}  // namespace
}  // namespace graft::model
