// Proves the interleaving checker before anything is proved with it: litmus tests with known
// answers under x86-TSO (Owens, Sarkar, Sewell 2009), happens-before, planted faults of each kind
// that it claims to find, and waiting that must not look like a fault.
#include "tests/model/checker.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <stdexcept>
#include <string>

namespace graft::model {
namespace {

bool mentions(const Result& r, const char* text) {
  return r.failure().find(text) != std::string::npos;
}

// --- Litmus tests --------------------------------------------------------------------------------

enum class Sb { kPlain, kFence, kSeqCstStore, kExchange };

// Store buffering (Dekker): each thread writes its own flag and reads the other's.
Result storeBuffering(Sb how, Options options) {
  struct State {
    Atomic<int> x, y;
    int rx = -1, ry = -1;
  };
  auto write = [how](Atomic<int>& a) {
    if (how == Sb::kSeqCstStore) return a.storeSeqCst(1);
    if (how == Sb::kExchange) return (void)a.exchangeAcqRel(1);
    a.storeRelease(1);
    if (how == Sb::kFence) ModelAtom::fenceSeqCst();
  };
  return explore(options, [=](model::Run& run) {
    auto s = std::make_shared<State>();
    run.thread("A", [=] {
      write(s->x);
      s->ry = s->y.loadAcquire();
    });
    run.thread("B", [=] {
      write(s->y);
      s->rx = s->x.loadAcquire();
    });
    run.finally([=] { MODEL_ASSERT(s->rx == 1 || s->ry == 1); });
  });
}

TEST(Litmus, StoreBufferingNeedsAFence) {
  for (Options o : {Options{}, Options{.preemptions = 2}, Options{.reduce = false}}) {
    EXPECT_TRUE(storeBuffering(Sb::kPlain, o).failed());
    for (Sb how : {Sb::kFence, Sb::kSeqCstStore, Sb::kExchange}) {
      Result r = storeBuffering(how, o);
      EXPECT_TRUE(r.ok()) << r.trace();
      EXPECT_GE(r.schedules(), 3u);
    }
    o.store_buffers = false;
    Result r = storeBuffering(Sb::kPlain, o);
    EXPECT_TRUE(r.ok()) << r.trace();
    EXPECT_GE(r.schedules(), 3u);
  }
}

// Independent reads of independent writes: all readers see one order of the two writes.
TEST(Litmus, IriwIsForbidden) {
  struct State {
    Atomic<int> x, y;
    int r[4] = {};
  };
  Result r = explore({}, [](model::Run& run) {
    auto s = std::make_shared<State>();
    run.thread("Wx", [=] { s->x.storeRelaxed(1); });
    run.thread("Wy", [=] { s->y.storeRelaxed(1); });
    run.thread("Rxy", [=] {
      s->r[0] = s->x.loadRelaxed();
      s->r[1] = s->y.loadRelaxed();
    });
    run.thread("Ryx", [=] {
      s->r[2] = s->y.loadRelaxed();
      s->r[3] = s->x.loadRelaxed();
    });
    run.finally(
        [=] { MODEL_ASSERT(!(s->r[0] == 1 && s->r[1] == 0 && s->r[2] == 1 && s->r[3] == 0)); });
  });
  EXPECT_TRUE(r.ok()) << r.trace();
  EXPECT_GE(r.schedules(), 15u);  // 16 outcomes but the forbidden one
}

// A thread sees its own buffered store before the others do; nobody sees values go back.
TEST(Litmus, OwnStoresFirstAndCoherence) {
  struct State {
    Atomic<int> x, y;
    int own = -1, other = -1, a = -1, b = -1;
  };
  std::set<std::string> seen;
  Result r = explore({}, [&](model::Run& run) {
    auto s = std::make_shared<State>();
    run.thread("W", [=] {
      s->x.storeRelaxed(1);
      s->own = s->x.loadRelaxed();
      s->other = s->y.loadRelaxed();
      s->x.storeRelaxed(2);
    });
    run.thread("R", [=] {
      s->y.storeSeqCst(1);
      s->a = s->x.loadRelaxed();
      s->b = s->x.loadRelaxed();
    });
    run.finally([=, &seen] {
      MODEL_ASSERT(s->own == 1);
      MODEL_ASSERT(s->a <= s->b);
      MODEL_ASSERT(s->x.loadRelaxed() == 2);
      seen.insert(std::to_string(s->other) + std::to_string(s->a) + std::to_string(s->b));
    });
  });
  EXPECT_TRUE(r.ok()) << r.trace();
  EXPECT_TRUE(seen.count("000") == 1) << "the store stayed in the buffer";
  EXPECT_EQ(seen.size(), 12u);  // 2 values of y times 6 monotonic pairs
}

// --- Happens-before ------------------------------------------------------------------------------

enum class Mp { kReleaseAcquire, kRelaxedStore, kRelaxedLoad, kFences, kNoAcquireFence, kChain };

Result messagePassing(Mp how) {
  struct State {
    ModelVar<int> data;
    Atomic<int> flag;
  };
  return explore({}, [how](model::Run& run) {
    auto s = std::make_shared<State>();
    label(s->data, "data");
    run.thread("W", [=] {
      s->data = 42;
      if (how == Mp::kFences || how == Mp::kNoAcquireFence) ModelAtom::fenceRelease();
      bool release = how == Mp::kReleaseAcquire || how == Mp::kRelaxedLoad || how == Mp::kChain;
      release ? s->flag.storeRelease(1) : s->flag.storeRelaxed(1);
    });
    if (how == Mp::kChain) run.thread("M", [=] { s->flag.fetchAddRelaxed(2); });
    run.thread("R", [=] {
      bool acquire = how == Mp::kReleaseAcquire || how == Mp::kRelaxedStore || how == Mp::kChain;
      int f = acquire ? s->flag.loadAcquire() : s->flag.loadRelaxed();
      if (how == Mp::kFences) ModelAtom::fenceAcquire();
      if ((f & 1) != 0) MODEL_ASSERT(s->data == 42);
    });
  });
}

TEST(HappensBefore, MessagePassing) {
  for (Mp how : {Mp::kReleaseAcquire, Mp::kFences, Mp::kChain}) {
    Result r = messagePassing(how);
    EXPECT_TRUE(r.ok()) << r.trace();
    EXPECT_GE(r.schedules(), 2u);
  }
  for (Mp how : {Mp::kRelaxedStore, Mp::kRelaxedLoad, Mp::kNoAcquireFence}) {
    Result r = messagePassing(how);
    EXPECT_TRUE(mentions(r, "data race on data")) << r.trace();
  }
}

TEST(HappensBefore, RacesOfPlainAccesses) {
  auto race = [](bool a_writes, bool b_writes, bool locked) {
    struct State {
      ModelVar<int> v;
      ModelMutex mu;
    };
    return explore({}, [=](model::Run& run) {
      auto s = std::make_shared<State>();
      for (bool w : {a_writes, b_writes}) {
        run.thread(w ? "writer" : "reader", [=] {
          if (locked) s->mu.lock();
          if (w) {
            s->v = 1;
          } else {
            (void)s->v.get();
          }
          if (locked) s->mu.unlock();
        });
      }
      run.finally([=] { MODEL_ASSERT(s->v == (a_writes || b_writes ? 1 : 0)); });
    });
  };
  EXPECT_TRUE(mentions(race(true, true, false), "data race"));
  EXPECT_TRUE(mentions(race(true, false, false), "data race"));
  EXPECT_TRUE(mentions(race(false, true, false), "data race"));
  EXPECT_TRUE(race(false, false, false).ok());
  EXPECT_TRUE(race(true, true, true).ok());
  EXPECT_TRUE(race(true, false, true).ok());
}

// --- Planted faults ------------------------------------------------------------------------------

Result counter(bool atomic, Options options) {
  struct State {
    Atomic<int> n;
  };
  return explore(options, [=](model::Run& run) {
    auto s = std::make_shared<State>();
    for (const char* name : {"A", "B", "C"}) {
      run.thread(name, [=] {
        if (atomic) {
          s->n.fetchAddRelaxed(1);
        } else {
          s->n.storeRelaxed(s->n.loadRelaxed() + 1);
        }
      });
    }
    run.finally([=] { MODEL_ASSERT(s->n.loadRelaxed() == 3); });
  });
}

TEST(Faults, LostUpdate) {
  for (Options o : {Options{}, Options{.preemptions = 1}, Options{.reduce = false},
                    Options{.store_buffers = false}}) {
    EXPECT_TRUE(mentions(counter(false, o), "n.loadRelaxed() == 3"));
    Result r = counter(true, o);
    EXPECT_TRUE(r.ok()) << r.trace();
    EXPECT_EQ(r.schedules(), 6u);  // 3!
  }
}

enum class Section { kMutex, kTryLock, kSpin, kSpinPlainUnlock, kBroken, kNone };

// The section is a read and a write that must not be torn apart.
Result criticalSection(Section how, Options options) {
  struct State {
    ModelMutex mu;
    Atomic<int> word;
    Ghost<int> inside;
    ModelVar<int> n;
  };
  return explore(options, [=](model::Run& run) {
    auto s = std::make_shared<State>();
    label(s->word, "word");
    label(s->inside, "inside");
    for (const char* name : {"A", "B", "C"}) {
      run.thread(name, [=] {
        bool in = true;
        int expected = 0;
        switch (how) {
          case Section::kMutex: s->mu.lock(); break;
          case Section::kTryLock: in = s->mu.tryLock(); break;
          case Section::kSpin:
          case Section::kSpinPlainUnlock:
            while (s->word.exchangeAcquire(1) != 0) ModelAtom::cpuRelax();
            break;
          case Section::kBroken:
            while (s->word.loadAcquire() != 0) ModelAtom::cpuRelax();
            s->word.storeSeqCst(1);
            break;
          case Section::kNone: break;
        }
        (void)expected;
        if (!in) return;
        MODEL_ASSERT(s->inside.add(1) == 0);
        s->n = s->n + 1;
        s->inside.add(-1);
        if (how == Section::kMutex || how == Section::kTryLock) s->mu.unlock();
        if (how == Section::kSpin || how == Section::kBroken) s->word.exchangeRelease(0);
        if (how == Section::kSpinPlainUnlock) s->word.storeRelease(0);
      });
    }
    run.finally([=] { MODEL_ASSERT(s->n >= 1 && (s->n == 3 || how == Section::kTryLock)); });
  });
}

TEST(Faults, MutualExclusion) {
  for (Options o : {Options{}, Options{.preemptions = 2}}) {
    for (Section how :
         {Section::kMutex, Section::kTryLock, Section::kSpin, Section::kSpinPlainUnlock}) {
      Result r = criticalSection(how, o);
      EXPECT_TRUE(r.ok()) << r.trace();
      EXPECT_GE(r.schedules(), 6u);
    }
    EXPECT_TRUE(criticalSection(Section::kBroken, o).failed());
    EXPECT_TRUE(criticalSection(Section::kNone, o).failed());
  }
}

// Treiber's stack over indices: node i's successor is next[i], 0 ends. With a tag in the head's
// upper half every pop changes it; without, pop suffers from ABA.
template <class Atom, bool kTagged>
struct Treiber {
  typename Atom::template Atomic<uint64_t> head{0};
  typename Atom::template Atomic<uint32_t> next[4];

  static uint64_t pack(uint64_t old, uint32_t i) {
    return kTagged ? ((old >> 32) + 1) << 32 | i : i;
  }
  void push(uint32_t i) {
    uint64_t h = head.loadRelaxed();
    do {
      next[i].storeRelaxed(static_cast<uint32_t>(h));
    } while (!head.casRelease(h, pack(h, i)));
  }
  uint32_t pop() {
    uint64_t h = head.loadAcquire();
    while (static_cast<uint32_t>(h) != 0) {
      uint32_t n = next[static_cast<uint32_t>(h)].loadRelaxed();
      if (head.casAcqRel(h, pack(h, n))) return static_cast<uint32_t>(h);
    }
    return 0;
  }
};

template <bool kTagged>
Result treiber(Options options) {
  struct State {
    Treiber<ModelAtom, kTagged> stack;
    Ghost<int> owners[4];
  };
  return explore(options, [](model::Run& run) {
    auto s = std::make_shared<State>();
    for (uint32_t i : {3, 2, 1}) s->stack.push(i);
    label(s->stack.head, "head");
    auto take = [=] {
      uint32_t i = s->stack.pop();
      if (i != 0) MODEL_ASSERT(s->owners[i].add(1) == 0);
      return i;
    };
    run.thread("A", [=] { take(); });
    run.thread("B", [=] {
      uint32_t a = take();
      take();
      if (a == 0) return;
      s->owners[a].add(-1);
      s->stack.push(a);
    });
    run.finally([=] {
      while (take() != 0) {
      }
    });
  });
}

TEST(Faults, TreiberAba) {
  for (Options o : {Options{}, Options{.preemptions = 2}}) {
    EXPECT_TRUE(treiber<false>(o).failed());
    Result r = treiber<true>(o);
    EXPECT_TRUE(r.ok()) << r.trace();
    EXPECT_GE(r.schedules(), 5u);
  }
}

// Go's proc.go: "submit work; StoreLoad fence; check nmspinning" against a worker that stops
// spinning, looks once more and sleeps. Without the fence the work can lie there with nobody awake.
Result wakeProtocol(bool fence, Options options) {
  struct State {
    Atomic<int> runq, spinning{1};
    Ghost<int> taken, wakeups;
  };
  return explore(options, [=](model::Run& run) {
    auto s = std::make_shared<State>();
    label(s->runq, "runq");
    label(s->spinning, "spinning");
    run.thread("submitter", [=] {
      s->runq.storeRelease(1);
      if (fence) ModelAtom::fenceSeqCst();
      if (s->spinning.loadRelaxed() == 0) s->wakeups.add(1);
    });
    run.thread("worker", [=] {
      for (int look = 0; look < 2; look++) {
        if (s->runq.loadAcquire() != 0) {
          s->taken.add(1);
          return;
        }
        if (look == 0) s->spinning.fetchSubAcqRel(1);
      }
    });
    run.finally([=] { MODEL_ASSERT(s->taken.get() + s->wakeups.get() >= 1); });
  });
}

TEST(Faults, WakeProtocolNeedsStoreLoad) {
  for (Options o : {Options{}, Options{.preemptions = 2}, Options{.reduce = false}}) {
    EXPECT_TRUE(wakeProtocol(false, o).failed());
    Result r = wakeProtocol(true, o);
    EXPECT_TRUE(r.ok()) << r.trace();
    EXPECT_GE(r.schedules(), 4u);
    o.store_buffers = false;
    EXPECT_TRUE(wakeProtocol(false, o).ok()) << "the fault needs store buffers";
  }
}

TEST(Faults, ReplayByScheduleString) {
  Result r = wakeProtocol(false, {});
  ASSERT_TRUE(r.failed());
  EXPECT_NE(r.schedule().find('a'), std::string::npos) << "a flush is part of the fault";
  EXPECT_NE(r.trace().find("submitter's buffer flush"), std::string::npos) << r.trace();
  EXPECT_NE(r.trace().find(r.schedule()), std::string::npos);
  Result again = wakeProtocol(false, {.replay = r.schedule()});
  EXPECT_EQ(again.failure(), r.failure());
  EXPECT_EQ(again.schedules(), 1u);
  Result fixed = wakeProtocol(true, {.replay = r.schedule()});
  EXPECT_TRUE(mentions(fixed, "does not fit")) << fixed.trace();
}

TEST(Faults, Deadlock) {
  struct State {
    ModelMutex a, b;
    Atomic<int> never;
  };
  auto locks = [](bool same_order) {
    return explore({}, [=](model::Run& run) {
      auto s = std::make_shared<State>();
      label(s->a, "a");
      label(s->b, "b");
      run.thread("A", [=] {
        ModelLock l1(s->a);
        ModelLock l2(s->b);
      });
      run.thread("B", [=] {
        ModelLock l1(same_order ? s->a : s->b);
        ModelLock l2(same_order ? s->b : s->a);
      });
    });
  };
  EXPECT_TRUE(locks(true).ok());
  Result r = locks(false);
  EXPECT_TRUE(mentions(r, "deadlock: A waits in lock(b); B waits in lock(a)")) << r.trace();

  r = explore({}, [](model::Run& run) {
    auto s = std::make_shared<State>();
    run.thread("twice", [=] {
      s->a.lock();
      s->a.lock();
    });
  });
  EXPECT_TRUE(mentions(r, "deadlock")) << r.trace();

  r = explore({}, [](model::Run& run) {
    auto s = std::make_shared<State>();
    run.thread("spinner", [=] {
      while (s->never.loadAcquire() == 0) ModelAtom::cpuRelax();
    });
    run.thread("other", [=] { s->never.storeRelease(0); });
  });
  EXPECT_TRUE(mentions(r, "spinner waits in cpuRelax")) << r.trace();

  r = explore({}, [](model::Run& run) {
    auto s = std::make_shared<State>();
    run.thread("waiter", [=] { waitUntil([=] { return s->never.loadAcquire() == 2; }); });
    run.thread("other", [=] { s->never.storeRelease(1); });
  });
  EXPECT_TRUE(mentions(r, "waiter waits in waitUntil")) << r.trace();
}

TEST(Faults, UnlockByAnother) {
  Result r = explore({}, [](model::Run& run) {
    auto m = std::make_shared<ModelMutex>();
    run.thread("A", [=] { m->lock(); });
    run.thread("B", [=] { m->unlock(); });
  });
  EXPECT_TRUE(mentions(r, "does not hold")) << r.trace();
}

TEST(Faults, Livelock) {
  // Two threads that each wait for the word to have their value set it for ever.
  Result r = explore({.max_steps = 200}, [](model::Run& run) {
    auto x = std::make_shared<Atomic<int>>(0);
    for (int me : {1, 2}) {
      run.thread(me == 1 ? "A" : "B", [=] {
        for (;;) {
          x->storeSeqCst(me);
          ModelAtom::cpuRelax();
          if (x->loadAcquire() == 3) return;
          ModelAtom::cpuRelax();
        }
      });
    }
  });
  EXPECT_TRUE(mentions(r, "no end after 200 steps")) << r.trace();
  r = explore({}, [](model::Run& run) {
    auto x = std::make_shared<Atomic<int>>(0);
    run.thread("A", [=] {
      for (;;) x->storeRelaxed(1);
    });
  });
  EXPECT_TRUE(mentions(r, "a loop without an operation")) << r.trace();
}

TEST(Faults, Exception) {
  Result r = explore(
      {}, [](model::Run& run) { run.thread("A", [] { throw std::runtime_error("lost"); }); });
  EXPECT_TRUE(mentions(r, "exception: lost"));
}

// --- Waiting that must not look like a fault -----------------------------------------------------

TEST(Waiting, SpinAndWaitSeeTheLatestChange) {
  struct State {
    Atomic<int> x, y;
    ModelVar<int> data;
  };
  for (bool spin : {true, false}) {
    Result r = explore({}, [spin](model::Run& run) {
      auto s = std::make_shared<State>();
      run.thread("W", [=] {
        s->x.storeRelease(1);
        s->data = 7;
        s->y.storeRelease(1);
        s->x.storeRelease(2);
      });
      run.thread("R", [=] {
        if (spin) {
          while (s->x.loadAcquire() != 2 && s->y.loadAcquire() == 0) ModelAtom::cpuRelax();
        } else {
          waitUntil([=] { return s->x.loadAcquire() == 2 || s->y.loadAcquire() != 0; });
        }
        MODEL_ASSERT(s->data == 7);
      });
    });
    EXPECT_TRUE(r.ok()) << r.trace();
    EXPECT_GE(r.schedules(), 2u);
  }
}

// A failed compare-and-swap brings a new expected value: the retry needs no further change.
TEST(Waiting, CasLoopWithRelax) {
  struct State {
    Atomic<int> n;
  };
  for (Options o : {Options{}, Options{.preemptions = 3}}) {
    Result r = explore(o, [](model::Run& run) {
      auto s = std::make_shared<State>();
      for (const char* name : {"A", "B", "C"}) {
        run.thread(name, [=] {
          int v = s->n.loadRelaxed();
          while (!s->n.casRelaxed(v, v + 1)) ModelAtom::cpuRelax();
        });
      }
      run.finally([=] { MODEL_ASSERT(s->n.loadRelaxed() == 3); });
    });
    EXPECT_TRUE(r.ok()) << r.trace();
    EXPECT_GE(r.schedules(), 6u);
  }
}

}  // namespace
}  // namespace graft::model
