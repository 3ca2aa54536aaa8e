// Model of the synchronisation objects: the protocols are the production templates of shims/sync
// (lock_word.h, cond_words.h, rwlock_words.h, sem_words.h [COND-A]); the futex underneath mirrors
// the parking lot: a queue under a lock, first in, first out, and a time-out that may come at any
// moment and is told apart from a wake under that lock.
//
// Checked in every schedule: exclusion, no wake is lost (a thread would wait for ever: deadlock),
// destroy waits for the last who touches. [SYNC-A] and [LATE-A] are the two-sided counts of
// waits.cc and late.cc, written out here: change both.
#include <gtest/gtest.h>

#include <memory>

#include "shims/sync/cond_words.h"
#include "shims/sync/lock_word.h"
#include "shims/sync/rwlock_words.h"
#include "shims/sync/sem_words.h"
#include "tests/model/checker.h"
#include "tests/model/planted.h"

namespace graft::model {
namespace {

using base::Plant;
using shims::RwResult;
using shims::WaitResult;

constexpr bool kForever = false, kTimed = true;

class Waits {
 public:
  using Until = bool;  // whether there is a time-out
  static constexpr uint32_t kAll = 100;

  bool maySpin() const { return false; }
  WaitResult wait(const Atomic<uint32_t>& word, uint32_t expected, bool timed = false,
                  uint32_t bits = ~0u) {
    return sleep(&word, timed, bits, [&] { return word.loadRelaxed() == expected; });
  }
  WaitResult waitLow(const Atomic<uint64_t>& word, uint32_t expected, bool timed) {
    return sleep(&word, timed, ~0u,
                 [&] { return static_cast<uint32_t>(word.loadRelaxed()) == expected; });
  }
  uint32_t wake(const void* word, uint32_t n, uint32_t bits = ~0u) {
    ModelLock lock(mu_);
    uint32_t taken = 0;
    for (int i = 0; i < count_ && taken < n;) {
      Sleeper& w = sleepers_[order_[i].get()];
      if (w.word != word || (w.bits & bits) == 0) {
        i++;
        continue;
      }
      remove(i);
      w.woken.storeRelease(1);
      taken++;
    }
    return taken;
  }
  uint32_t wakeFromHandler(const void* word, uint32_t n) { return wake(word, n); }

 private:
  struct Sleeper {
    ModelVar<const void*> word{nullptr};
    ModelVar<uint32_t> bits{0};
    Atomic<int> woken{0};
  };

  void remove(int at) {
    for (int i = at; i + 1 < count_; i++) order_[i] = order_[i + 1].get();
    count_ = count_ - 1;
  }
  template <class Same>
  WaitResult sleep(const void* word, bool timed, uint32_t bits, Same same) {
    Sleeper& me = sleepers_[self()];
    {
      ModelLock lock(mu_);
      if (!same()) return WaitResult::kMismatch;
      me.word = word;
      me.bits = bits;
      order_[count_] = self();
      count_ = count_ + 1;
    }
    if (timed) {
      ModelLock lock(mu_);
      for (int i = 0; i < count_; i++) {
        if (order_[i] != self()) continue;
        remove(i);
        return WaitResult::kTimedOut;
      }
    }
    waitUntil([&me] { return me.woken.loadAcquire() != 0; });
    me.woken.storeRelaxed(0);
    return WaitResult::kWoken;
  }

  ModelMutex mu_;
  Sleeper sleepers_[kMaxThreads];
  ModelVar<int> order_[kMaxThreads];
  ModelVar<int> count_{0};
};

// --- The lock

struct LockState {
  Waits waits;
  Atomic<uint32_t> word{0};
  ModelVar<int> inside{0};
  Atomic<int> timed_out{0};

  shims::LockWord<ModelAtom> lock() { return shims::LockWord<ModelAtom>(word); }
  void use(bool timed) {
    if (!lock().tryTake() && !lock().take(waits, timed)) return;
    inside = inside + 1;
    lock().release(waits);
  }
};

Result locking(int threads, bool timed, model::Options options = {}) {
  return explore(options, [=](model::Run& run) {
    auto s = std::make_shared<LockState>();
    for (int i = 0; i < threads; i++) {
      run.thread(std::string(1, static_cast<char>('A' + i)), [=] { s->use(timed && i == 0); });
    }
    run.finally([=] {
      MODEL_ASSERT(s->word.loadRelaxed() == 0);
      MODEL_ASSERT(s->inside >= threads - 1 && (timed || s->inside == threads));
    });
  });
}

TEST(Sync, ALockExcludesAndWakes) {
  Result r = locking(2, false);
  EXPECT_TRUE(r.ok()) << r.trace();
  EXPECT_GE(r.schedules(), 10u);
  for (bool timed : {false, true}) {
    r = locking(3, timed, {.preemptions = 2});
    EXPECT_TRUE(r.ok()) << r.trace();
  }
  Planted planted(Plant::kLockForgets);
  EXPECT_TRUE(locking(3, false, {.preemptions = 3}).failed());
}

// --- Condition variables

struct CondState {
  Waits waits;
  Atomic<uint32_t> mutex{0}, signals, refs{0};
  ModelVar<int> tokens{0};
  Atomic<int> arrived{0};

  explicit CondState(uint32_t leftover) : signals(leftover) {}
  shims::LockWord<ModelAtom> lock() { return shims::LockWord<ModelAtom>(mutex); }
  shims::CondWords<ModelAtom> cond() { return {signals, refs}; }
  void enter() {
    if (!lock().tryTake()) lock().take(waits, kForever);
  }

  void take(bool timed) {
    enter();
    arrived.fetchAddRelaxed(1);
    while (tokens == 0) {
      WaitResult r = cond().wait(waits, timed, [this] {
        lock().release(waits);
        return true;
      });
      enter();
      if (r == WaitResult::kTimedOut) break;
    }
    if (tokens > 0) tokens = tokens - 1;
    lock().release(waits);
  }
  void give(int n, bool inside) {
    enter();
    tokens = tokens + n;
    uint32_t wake = n == 1 ? 1 : Waits::kAll;
    if (inside) cond().signal(waits, wake);
    lock().release(waits);
    if (!inside) cond().signal(waits, wake);
  }
};

Result passing(int waiters, bool broadcast, bool inside, bool timed, model::Options options = {}) {
  return explore(options, [=](model::Run& run) {
    auto s = std::make_shared<CondState>(0xfffffffeu);
    for (int i = 0; i < waiters; i++) {
      run.thread("waiter", [=] { s->take(timed && i == 0); });
    }
    run.thread("giver", [=] {
      for (int i = 0; i < (broadcast ? 1 : waiters); i++) s->give(broadcast ? waiters : 1, inside);
    });
    run.finally([=] { MODEL_ASSERT(s->refs.loadRelaxed() == 0 && s->tokens >= 0); });
  });
}

TEST(Sync, ACondLosesNoSignal) {
  for (bool inside : {false, true}) {
    Result r = passing(1, false, inside, false);
    EXPECT_TRUE(r.ok()) << r.trace();
    EXPECT_GE(r.schedules(), 5u);
    for (bool broadcast : {false, true}) {
      for (bool timed : {false, true}) {
        r = passing(2, broadcast, inside, timed, {.preemptions = 2});
        EXPECT_TRUE(r.ok()) << r.trace();
      }
    }
  }
  for (Plant p : {Plant::kCondCountsLate, Plant::kCondSleepsOnNew}) {
    Planted planted(p);
    EXPECT_TRUE(passing(1, false, false, false).failed()) << static_cast<int>(p);
  }
}

// The moment everybody has been told, the object goes.
TEST(Sync, ACondMayBeDestroyedAfterABroadcast) {
  Result r = explore({.preemptions = 2}, [](model::Run& run) {
    auto s = std::make_shared<CondState>(7);
    for (int i = 0; i < 2; i++) run.thread("waiter", [=] { s->take(false); });
    run.thread("owner", [=] {
      waitUntil([=] { return s->arrived.loadAcquire() == 2; });
      s->give(2, false);
      s->cond().destroy(s->waits);
      MODEL_ASSERT(s->refs.loadRelaxed() == shims::CondWords<ModelAtom>::kDestroyed);
    });
  });
  EXPECT_TRUE(r.ok()) << r.trace();
}

// --- Read-write locks

struct RwState {
  Waits waits;
  Atomic<uint32_t> state{0}, writers{0};
  Ghost<int> reading, writing;
  bool writers_first;

  explicit RwState(bool first) : writers_first(first) {}
  shims::RwWords<ModelAtom> rw() { return {state, writers, writers_first}; }
  void read() {
    if (rw().takeRead(waits, kForever) != RwResult::kOk) return;
    reading.add(1);
    MODEL_ASSERT(writing.get() == 0);
    reading.add(-1);
    rw().freeRead(waits);
  }
  void write(bool timed) {
    if (rw().takeWrite(waits, timed) != RwResult::kOk) return;
    MODEL_ASSERT(writing.add(1) == 0 && reading.get() == 0);
    writing.add(-1);
    rw().freeWrite(waits);
  }
};

// One letter per thread: r reads, w writes, t tries to write for a time.
Result sharing(const char* threads, bool first, model::Options options = {}) {
  return explore(options, [=](model::Run& run) {
    auto s = std::make_shared<RwState>(first);
    for (const char* t = threads; *t != 0; t++) {
      char what = *t;
      run.thread(std::string(1, what), [=] {
        if (what == 'r') s->read();
        if (what != 'r') s->write(what == 't');
      });
    }
    run.finally([=] {
      MODEL_ASSERT((s->state.loadRelaxed() & ~shims::RwWords<ModelAtom>::kSleepers) == 0);
      MODEL_ASSERT(s->writers.loadRelaxed() == 0);
    });
  });
}

// A reader holds the lock for as long as another reader has not been in, while a writer comes and
// gives up (INV-RW-2).
Result readersMeet(model::Options options) {
  return explore(options, [](model::Run& run) {
    auto s = std::make_shared<RwState>(true);
    auto met = std::make_shared<Atomic<int>>(0);
    run.thread("holder", [=] {
      MODEL_ASSERT(s->rw().tryRead() == RwResult::kOk);
      met->storeRelease(1);
      waitUntil([=] { return met->loadAcquire() == 2; });
      s->rw().freeRead(s->waits);
    });
    run.thread("writer", [=] {
      waitUntil([=] { return met->loadAcquire() != 0; });
      s->write(kTimed);
    });
    run.thread("reader", [=] {
      waitUntil([=] { return met->loadAcquire() != 0; });
      MODEL_ASSERT(s->rw().takeRead(s->waits, kForever) == RwResult::kOk);
      met->storeRelease(2);
      s->rw().freeRead(s->waits);
    });
  });
}

TEST(Sync, AReadWriteLockExcludesAndWakes) {
  for (bool first : {false, true}) {
    for (const char* threads : {"rw", "ww"}) {
      Result r = sharing(threads, first);
      EXPECT_TRUE(r.ok()) << threads << r.trace();
    }
    for (const char* threads : {"rrw", "rww", "www", "rtw", "rrt"}) {
      Result r = sharing(threads, first, {.preemptions = 2});
      EXPECT_TRUE(r.ok()) << threads << r.trace();
    }
  }
  Planted planted(Plant::kRwForgets);
  EXPECT_TRUE(sharing("www", false, {.preemptions = 3}).failed() ||
              sharing("rww", false, {.preemptions = 3}).failed());
}

TEST(Sync, AWriterThatGivesUpLetsReadersIn) {
  Result r = readersMeet({.preemptions = 3});
  EXPECT_TRUE(r.ok()) << r.trace();
  Planted planted(Plant::kRwQuietGiveUp);
  EXPECT_TRUE(readersMeet({.preemptions = 3}).failed());
}

// --- Semaphores

struct SemState {
  Waits waits;
  Atomic<uint64_t> word{0};
  Ghost<int> taken;

  shims::SemWord<ModelAtom> sem() { return shims::SemWord<ModelAtom>(word); }
  void take(bool timed) {
    if (sem().tryTake() || sem().take(waits, timed) == WaitResult::kWoken) taken.add(1);
  }
};

Result posting(int waiters, bool timed, model::Options options = {}) {
  return explore(options, [=](model::Run& run) {
    auto s = std::make_shared<SemState>();
    for (int i = 0; i < waiters; i++) {
      run.thread("waiter", [=] { s->take(timed && i == 0); });
    }
    run.thread("poster", [=] {
      for (int i = 0; i < waiters; i++) s->sem().post(s->waits);
    });
    run.finally([=] {
      MODEL_ASSERT(s->word.loadRelaxed() == static_cast<uint64_t>(waiters - s->taken.get()));
    });
  });
}

TEST(Sync, ASemaphoreLosesNoToken) {
  Result r = posting(1, false);
  EXPECT_TRUE(r.ok()) << r.trace();
  EXPECT_GE(r.schedules(), 3u);
  for (bool timed : {false, true}) {
    r = posting(2, timed, {.preemptions = 3});
    EXPECT_TRUE(r.ok()) << r.trace();
  }
  Planted planted(Plant::kSemLooksFirst);
  EXPECT_TRUE(posting(1, false).failed());
}

// --- Two-sided counts

// [SYNC-A] A thread that waits in the kernel counts itself, then the kernel compares the word; who
// wakes changes the word, then looks at the count.
Result meetingInTheKernel(bool locked) {
  return explore({}, [=](model::Run& run) {
    auto word = std::make_shared<Atomic<uint32_t>>(0);
    auto count = std::make_shared<Atomic<uint32_t>>(0);
    auto kernel = std::make_shared<Waits>();
    run.thread("waiter", [=] {
      count->fetchAddAcqRel(1);
      kernel->wait(*word, 0);
    });
    run.thread("waker", [=] {
      if (locked) {
        word->exchangeRelease(1);
      } else {
        word->storeRelease(1);
      }
      if (count->loadRelaxed() != 0) kernel->wake(word.get(), 1);
    });
  });
}

TEST(Sync, AWakeReachesTheKernelsWaiters) {
  Result r = meetingInTheKernel(true);
  EXPECT_TRUE(r.ok()) << r.trace();
  EXPECT_TRUE(meetingInTheKernel(false).failed());
}

// [LATE-A] Two handlers post and leave the waking to sysmon, which takes the entry out first.
Result wakingLate(bool out_first) {
  return explore({}, [=](model::Run& run) {
    auto word = std::make_shared<Atomic<uint32_t>>(0);
    auto slot = std::make_shared<Atomic<int>>(0);
    auto count = std::make_shared<Atomic<int>>(0);
    auto waits = std::make_shared<Waits>();
    auto done = std::make_shared<Atomic<int>>(0);
    run.thread("waiter", [=] {
      for (uint32_t v; (v = word->loadAcquire()) != 2;) waits->wait(*word, v);
      done->storeRelease(1);
    });
    run.thread("handler", [=] {
      for (int i = 0; i < 2; i++) {
        word->fetchAddRelease(1);
        int none = 0;
        slot->casAcqRel(none, 1);
        count->fetchAddAcqRel(1);
      }
    });
    run.thread("sysmon", [=] {
      for (;;) {
        waitUntil([=] { return count->loadAcquire() != 0 || done->loadAcquire() != 0; });
        if (done->loadAcquire() != 0) return;
        count->exchangeAcqRel(0);
        if (!out_first && slot->loadRelaxed() != 0) waits->wake(word.get(), Waits::kAll);
        bool had = slot->exchangeAcqRel(0) != 0;
        if (out_first && had) waits->wake(word.get(), Waits::kAll);
      }
    });
  });
}

TEST(Sync, ALateWakeIsNotForgotten) {
  Result r = wakingLate(true);
  EXPECT_TRUE(r.ok()) << r.trace();
  EXPECT_TRUE(wakingLate(false).failed());
}

}  // namespace
}  // namespace graft::model
