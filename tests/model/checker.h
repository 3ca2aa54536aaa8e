// Interleaving checker for lock-free code: runs the production templates under ModelAtom, once per
// schedule, until every schedule that can differ has been run.
//
//   model::Result r = model::explore({.preemptions = 3}, [](model::Run& run) {
//     auto s = std::make_shared<State>();                 // built afresh for every schedule
//     run.thread("A", [=] { s->x.storeRelaxed(1); });
//     run.thread("B", [=] { if (s->x.loadAcquire()) s->y = 2; });
//     run.finally([=] { MODEL_ASSERT(...); });            // all threads done, all buffers empty
//   });
//   EXPECT_TRUE(r.ok()) << r.trace();
//
// What is explored. Each thread is a fiber; each access to shared memory is a scheduling point.
// With store buffers (the default) a plain or release store goes into its thread's FIFO buffer and
// reaches memory in a scheduling step of its own; loads look into their own thread's buffer first;
// locked operations, seq-cst stores and fences, lock and unlock wait until it is empty: x86-TSO
// (Owens, Sarkar, Sewell 2009). That is what x86-64 hardware does; what a compiler may do to
// relaxed operations is not explored.
//
// How. Depth first by replay (CHESS), in one of three ways:
//   no preemption bound   dynamic partial order reduction with sleep sets (Flanagan and Godefroid
//                         2005): one schedule, sometimes a few, per order of dependent accesses
//   preemptions = n       every schedule with at most n preemptions; a buffer is flushed only where
//                         somebody can see the difference
//   reduce = false        everything; the tests of the checker compare the others with it
//
// What is found: MODEL_ASSERT; deadlock (also: every thread waits in cpuRelax); schedules that do
// not end (max_steps); data races on ModelVar. Races are judged by the happens-before relation of
// C++ (release, acquire, fences, read-modify-write chains), not of TSO: an order that is too weak
// is found although this hardware would forgive it.
//
// Rules for a scenario:
//  1. What threads share is an Atomic, ModelVar, ModelMutex or Ghost; anything else only in setup
//     and in finally. (The reduction cannot see other accesses.)
//  2. The same schedule does the same thing: no clock, no rand, no order of addresses.
//  3. cpuRelax() waits until something that the thread has read since its last cpuRelax() changes.
//     A loop that gives up after n rounds is modelled with no rounds.
//  4. A run may be cut short: loads and read-modify-writes then throw through the code under test.
//     Destructors may store and unlock, not load.
#pragma once

#include <stdint.h>
#include <string.h>

#include <functional>
#include <string>
#include <vector>

namespace graft::model {

inline constexpr int kMaxThreads = 8;

struct Options {
  int preemptions = -1;  // switches away from a thread that could go on; -1: any number
  bool store_buffers = true;
  bool reduce = true;
  uint64_t max_schedules = 2'000'000;
  uint32_t max_steps = 4000;  // of one schedule
  bool quiet = false;  // no line with the counts on stdout
  std::string replay = {};  // Result::schedule() of an earlier failure: run that one only
};

class Result {
 public:
  // Every schedule was run and none failed.
  bool ok() const { return failure_.empty() && complete_; }
  bool failed() const { return !failure_.empty(); }
  bool complete() const { return complete_; }  // false: stopped by a failure or max_schedules
  uint64_t schedules() const { return schedules_; }  // run to their end
  uint64_t redundant() const { return redundant_; }  // cut short: equal to one that was run
  uint64_t steps() const { return steps_; }
  const std::string& failure() const { return failure_; }
  // The schedule that failed: a digit is a step of that thread, a letter a flush of its buffer.
  const std::string& schedule() const { return schedule_; }
  // Failure, schedule and each step; or why there is none.
  const std::string& trace() const { return trace_; }

 private:
  friend class Engine;
  bool complete_ = false;
  uint64_t schedules_ = 0, redundant_ = 0, steps_ = 0;
  std::string failure_, schedule_, trace_;
};

class Run {
 public:
  void thread(std::string name, std::function<void()> body);
  // After the last thread and the last flush, on the caller's stack.
  void finally(std::function<void()> check);

 private:
  friend class Engine;
  Run() = default;
};

Result explore(const Options& options, const std::function<void(Run&)>& scenario);

// The number of the calling model thread, in the order of Run::thread; -1 outside of one.
int self();

// Blocks the thread until pred() holds. pred reads any Atomics, changes nothing, and is evaluated
// by the checker; passing has acquire order.
void waitUntil(std::function<bool()> pred);

[[noreturn]] void fail(const std::string& what);

#define MODEL_ASSERT(cond) \
  ((cond) ? (void)0 : ::graft::model::assertFailed(#cond, __FILE__, __LINE__))
[[noreturn]] void assertFailed(const char* what, const char* file, int line);

// --- What the checker knows of a piece of memory -------------------------------------------------

// One count per thread, then one per store buffer.
struct Clock {
  int16_t at[2 * kMaxThreads] = {};
  void join(const Clock& o) {
    for (int i = 0; i < 2 * kMaxThreads; i++) at[i] = at[i] < o.at[i] ? o.at[i] : at[i];
  }
};

struct Cell {
  Cell();
  Cell(const Cell&) = delete;
  Cell& operator=(const Cell&) = delete;

  uint64_t value = 0;
  uint32_t version = 0;  // counts changes of the value
  uint32_t id;  // in order of construction
  uint64_t run;  // the schedule that the clocks below belong to
  const char* label = nullptr;  // shown in traces instead of the id
  Clock writes, accesses;  // dependence: latest writes, latest accesses
  Clock released;  // happens-before: what an acquiring load learns
};

struct VarCell {
  VarCell();
  uint32_t id;
  uint64_t run;
  const char* label = nullptr;
  Clock reads;
  int16_t write_time = 0;
  int8_t writer = -1;
};

enum Order : uint8_t { kRelaxed = 0, kAcquire = 1, kRelease = 2, kAcqRel = 3 };

// The engine's entry points; used through the classes below.
uint64_t cellLoad(Cell& c, Order order, const char* name);
void cellStore(Cell& c, uint64_t v, Order order, const char* name);
void cellStoreSeqCst(Cell& c, uint64_t v);
uint64_t cellBeginRmw(Cell& c, const char* name);
void cellEndRmw(Cell& c, uint64_t old, uint64_t now, bool wrote, Order order, const char* name);
uint64_t ghostBegin(Cell& c, bool write, const char* name);
void ghostEnd(Cell& c, uint64_t old, uint64_t now, bool write, const char* name);
void mutexLock(Cell& c);
bool mutexTryLock(Cell& c);
void mutexUnlock(Cell& c);
void varRead(VarCell& c);
void varWrite(VarCell& c);
void fenceAcquire();
void fenceRelease();
void fenceSeqCst();
void cpuRelax();

template <class T>
uint64_t toBits(T v) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  uint64_t bits = 0;
  memcpy(&bits, &v, sizeof v);
  return bits;
}
template <class T>
T fromBits(uint64_t bits) {
  T v;
  memcpy(&v, &bits, sizeof v);
  return v;
}

// --- What scenarios and templates use
// -------------------------------------------------------------

// The surface of base::Atomic.
template <class T>
class Atomic {
 public:
  Atomic() : Atomic(T{}) {}
  Atomic(T v) { cell_.value = toBits(v); }

  T loadRelaxed() const { return load(kRelaxed, "load.relaxed"); }
  T loadAcquire() const { return load(kAcquire, "load.acquire"); }

  void storeRelaxed(T v) { cellStore(cell_, toBits(v), kRelaxed, "store.relaxed"); }
  void storeRelease(T v) { cellStore(cell_, toBits(v), kRelease, "store.release"); }
  void storeSeqCst(T v) { cellStoreSeqCst(cell_, toBits(v)); }

  T exchangeRelaxed(T v) { return exchange(v, kRelaxed, "exchange.relaxed"); }
  T exchangeAcquire(T v) { return exchange(v, kAcquire, "exchange.acquire"); }
  T exchangeRelease(T v) { return exchange(v, kRelease, "exchange.release"); }
  T exchangeAcqRel(T v) { return exchange(v, kAcqRel, "exchange.acqrel"); }

  bool casRelaxed(T& expected, T v) { return cas(expected, v, kRelaxed, "cas.relaxed"); }
  bool casAcquire(T& expected, T v) { return cas(expected, v, kAcquire, "cas.acquire"); }
  bool casRelease(T& expected, T v) { return cas(expected, v, kRelease, "cas.release"); }
  bool casAcqRel(T& expected, T v) { return cas(expected, v, kAcqRel, "cas.acqrel"); }

  T fetchAddRelaxed(T d) { return add(d, kRelaxed, "add.relaxed"); }
  T fetchAddAcquire(T d) { return add(d, kAcquire, "add.acquire"); }
  T fetchAddRelease(T d) { return add(d, kRelease, "add.release"); }
  T fetchAddAcqRel(T d) { return add(d, kAcqRel, "add.acqrel"); }

  T fetchSubRelaxed(T d) { return sub(d, kRelaxed, "sub.relaxed"); }
  T fetchSubAcquire(T d) { return sub(d, kAcquire, "sub.acquire"); }
  T fetchSubRelease(T d) { return sub(d, kRelease, "sub.release"); }
  T fetchSubAcqRel(T d) { return sub(d, kAcqRel, "sub.acqrel"); }

  T fetchOrRelaxed(T b) { return orBits(b, kRelaxed, "or.relaxed"); }
  T fetchOrRelease(T b) { return orBits(b, kRelease, "or.release"); }
  T fetchOrAcqRel(T b) { return orBits(b, kAcqRel, "or.acqrel"); }

  T fetchAndRelaxed(T b) { return andBits(b, kRelaxed, "and.relaxed"); }
  T fetchAndRelease(T b) { return andBits(b, kRelease, "and.release"); }
  T fetchAndAcqRel(T b) { return andBits(b, kAcqRel, "and.acqrel"); }

  Cell& cell() { return cell_; }

 private:
  T load(Order o, const char* name) const { return fromBits<T>(cellLoad(cell_, o, name)); }

  template <class F>
  T change(Order o, const char* name, F f) {
    uint64_t old = cellBeginRmw(cell_, name);
    cellEndRmw(cell_, old, toBits(static_cast<T>(f(fromBits<T>(old)))), true, o, name);
    return fromBits<T>(old);
  }
  // Unsigned, so that a wrap is a wrap.
  static constexpr uint64_t wide(T v) { return static_cast<uint64_t>(v); }
  T exchange(T v, Order o, const char* name) {
    return change(o, name, [v](T) { return v; });
  }
  T add(T d, Order o, const char* name) {
    return change(o, name, [d](T v) { return wide(v) + wide(d); });
  }
  T sub(T d, Order o, const char* name) {
    return change(o, name, [d](T v) { return wide(v) - wide(d); });
  }
  T orBits(T b, Order o, const char* name) {
    return change(o, name, [b](T v) { return v | b; });
  }
  T andBits(T b, Order o, const char* name) {
    return change(o, name, [b](T v) { return v & b; });
  }
  bool cas(T& expected, T v, Order o, const char* name) {
    uint64_t old = cellBeginRmw(cell_, name);
    bool equal = old == toBits(expected);
    cellEndRmw(cell_, old, equal ? toBits(v) : old, equal, o, name);
    expected = fromBits<T>(old);
    return equal;
  }

  mutable Cell cell_;
};

struct ModelAtom {
  template <class T>
  using Atomic = model::Atomic<T>;

  static void fenceAcquire() { model::fenceAcquire(); }
  static void fenceRelease() { model::fenceRelease(); }
  static void fenceSeqCst() { model::fenceSeqCst(); }
  static void cpuRelax() { model::cpuRelax(); }
};

// The surface of os::Mutex. Like it, both ends are locked instructions and drain the buffer.
class ModelMutex {
 public:
  void lock() { mutexLock(cell_); }
  bool tryLock() { return mutexTryLock(cell_); }
  void unlock() { mutexUnlock(cell_); }
  Cell& cell() { return cell_; }

 private:
  Cell cell_;
};

class ModelLock {
 public:
  explicit ModelLock(ModelMutex& m) : m_(m) { m_.lock(); }
  ~ModelLock() { m_.unlock(); }
  ModelLock(const ModelLock&) = delete;
  ModelLock& operator=(const ModelLock&) = delete;

 private:
  ModelMutex& m_;
};

// A plain variable: its accesses must be ordered by happens-before.
template <class T>
class ModelVar {
 public:
  ModelVar() = default;
  ModelVar(T v) : v_(v) {}
  ModelVar(const ModelVar&) = delete;

  T get() const {
    varRead(cell_);
    return v_;
  }
  void set(T v) {
    varWrite(cell_);
    v_ = v;
  }
  operator T() const { return get(); }
  ModelVar& operator=(T v) {
    set(v);
    return *this;
  }
  ModelVar& operator=(const ModelVar&) = delete;
  VarCell& cell() { return cell_; }

 private:
  T v_{};
  mutable VarCell cell_;
};

// What the scenario remembers about the code under test (who owns a slot, how often something
// happened): one indivisible step each, seen by all at once, orders nothing.
template <class T>
class Ghost {
 public:
  Ghost() = default;
  Ghost(T v) { cell_.value = toBits(v); }

  T get() const {
    uint64_t v = ghostBegin(cell_, false, "ghost.get");
    ghostEnd(cell_, v, v, false, "ghost.get");
    return fromBits<T>(v);
  }
  T exchange(T v) {
    return change("ghost.set", [v](T) { return v; });
  }
  T add(T d) {  // returns the value before
    return change("ghost.add", [d](T v) { return static_cast<T>(v + d); });
  }
  Cell& cell() { return cell_; }

 private:
  template <class F>
  T change(const char* name, F f) {
    uint64_t old = ghostBegin(cell_, true, name);
    ghostEnd(cell_, old, toBits(f(fromBits<T>(old))), true, name);
    return fromBits<T>(old);
  }

  mutable Cell cell_;
};

// Names an Atomic, ModelVar, ModelMutex or Ghost in traces; text must outlive the scenario.
template <class X>
void label(X& x, const char* text) {
  x.cell().label = text;
}

}  // namespace graft::model
