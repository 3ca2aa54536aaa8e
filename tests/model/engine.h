// The engine behind checker.h: what it keeps of the schedule that runs, of the path of the search
// and of each thread. The parts are in checker.cc (running schedules, exploring, traces), search.cc
// (what can happen next, which of it is worth a schedule) and memory.cc (what operations do).
//
// Processes are the threads (0..7) and one flusher per thread (8..15), whose only step moves the
// oldest entry of the thread's buffer to memory. A thread announces its next operation (reach) and
// gives up control; pick() chooses the process of the next step: from the path while a prefix is
// replayed, by itself beyond it. The chooser runs on the stack of whoever came last, so a thread
// that goes on costs no switch.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/model/checker.h"
#include "tests/model/fiber.h"

namespace graft::model {

inline constexpr int kProcs = 2 * kMaxThreads;
inline constexpr int kNobody = -1;
inline constexpr uint32_t kMaxLocalSteps = 20'000;  // of one schedule: fits the clocks

struct Abandon {};  // unwinds a thread whose schedule was cut short

enum class Kind : uint8_t { kRead, kWrite, kFence, kRelax, kWait, kLock, kUnlock };

inline bool writes(Kind k) { return k == Kind::kWrite || k == Kind::kLock || k == Kind::kUnlock; }

struct Op {
  Kind kind = Kind::kRead;
  bool drains = false;  // waits until the thread's store buffer is empty
  Cell* cell = nullptr;
  const char* name = "";
};

struct Buffered {
  Cell* cell;
  uint64_t value;
  Clock released;  // what the store publishes
  Clock after;  // the thread's dependence clock at the store
};

struct Seen {
  Cell* cell;
  uint32_t version;
  bool cas_failed;
};

struct Thread {
  Fiber fiber;
  std::string name;
  std::function<void()> body;
  bool live = false;  // has a job that has not ended
  Op op;
  std::function<bool()> condition;  // of waitUntil
  std::vector<Cell*> condition_cells;
  std::vector<Buffered> buffer;
  size_t flushed = 0;  // entries of buffer that have reached memory
  std::vector<Seen> seen, seen_before;  // by the last two rounds of a spin loop
  Clock hb, to_acquire, fence_release;

  bool pending() const { return flushed < buffer.size(); }
};

struct Event {
  int8_t proc;
  bool write;
  Kind kind;
  int16_t index;  // among the events of proc
  Cell* cell;
  uint32_t extra_begin, extra_end;  // cells of a waitUntil
  Clock clock;
};

struct Node {
  uint32_t enabled, backtrack, done = 0, sleep = 0;
  int8_t chosen = kNobody;
  int8_t last = kNobody;  // thread of the latest step that was not a flush
  bool goes_on = false;  // it could take another step: choosing another thread preempts it
  int left = 0;  // preemptions still allowed
};

constexpr uint32_t bit(int proc) { return 1u << proc; }
inline constexpr uint32_t kThreadBits = (1u << kMaxThreads) - 1;
inline int lowest(uint32_t mask) { return __builtin_ctz(mask); }

class Engine {
 public:
  Result explore(const Options& options, const std::function<void(Run&)>& scenario);

  // Run's half.
  void addThread(std::string name, std::function<void()> body);
  void setFinally(std::function<void()> check) { finally_ = std::move(check); }

  // The operations' half. direct(): no schedule to ask (setup, finally, outside of explore).
  bool direct() const { return current_ == kNobody || abandoning_ || peeking_ != kNobody; }
  int current() const { return current_; }
  uint32_t nextId() { return next_id_++; }
  uint64_t run() const { return run_; }
  void touch(Cell& c) const;
  [[noreturn]] void fail(const std::string& what);
  void leaveIfAbandoned();

  uint64_t load(Cell& c, Order order, const char* name);
  void store(Cell& c, uint64_t v, Order order, const char* name);
  void storeSeqCst(Cell& c, uint64_t v);
  uint64_t beginRmw(Cell& c, const char* name);
  void endRmw(Cell& c, uint64_t old, uint64_t now, bool wrote, Order order, const char* name);
  uint64_t ghostBegin(Cell& c, bool write, const char* name);
  void ghostEnd(Cell& c, uint64_t old, uint64_t now, bool write, const char* name);
  void lock(Cell& c);
  bool tryLock(Cell& c);
  void unlock(Cell& c);
  void fence(bool acquire, bool release, bool seq_cst);
  void relax();
  void wait(std::function<bool()> condition);
  void varAccess(VarCell& c, bool write);

 private:
  static void threadMain(void* thread);
  Thread& me() { return *threads_[current_]; }

  // One schedule.
  void runOnce(const std::function<void(Run&)>& scenario);
  void reach(Op op);
  void finish();
  void dispatch();
  int pick();
  int pickForced(uint32_t enabled);
  bool pickNew(uint32_t enabled);
  bool backtrack();
  void toMain();
  void abandonAll();
  void setFailure(const std::string& what);

  // What can happen next.
  uint32_t enabledMask();
  bool threadEnabled(int t);
  bool relaxReady(const Thread& t) const;
  bool relaxLearned(const Thread& t) const;
  bool holds(int t);
  void localStep();
  uint32_t lazyFlushers();
  bool touches(const Thread& t, const Cell* c) const;
  bool allDone() const;
  std::string deadlockText();

  // Dependence.
  void findRaces(int proc);
  void compare(int proc, size_t event);
  bool dependent(int proc, const Event& e) const;
  bool simultaneous(int proc, const Event& e) const;
  bool orderedBefore(const Event& e, const Clock& c) const { return c.at[e.proc] >= e.index; }
  Clock clockOf(int proc) const;

  // Effects.
  void commit(int proc, Kind kind, Cell* cell, bool write);
  void flushOne(int t);
  void writeMemory(Cell& c, uint64_t v, int writer);
  void sawCell(Thread& t, Cell& c, bool cas_failed);
  void publish(Thread& t, Cell& c, Order order, bool chain);
  void learn(Thread& t, Cell& c, Order order);
  const Buffered* ownBuffered(const Thread& t, const Cell& c) const;

  void note(int proc, const char* name, const Cell* c, const char* tail);
  void noteChange(int proc, const char* name, const Cell& c, uint64_t old, uint64_t now);
  static std::string cellName(const Cell& c);
  std::string writeTrace();

  Options options_;
  bool dpor_ = false, lazy_ = false;
  Fiber main_;
  std::vector<std::unique_ptr<Thread>> threads_;  // fibers are kept between explorations
  int thread_count_ = 0;
  std::function<void()> finally_;

  // The path of the search.
  std::vector<Node> nodes_;
  size_t new_from_ = 0;  // steps before this one are a replay
  bool forced_on_ = false;
  std::vector<int8_t> forced_;

  // The schedule that runs.
  uint64_t run_ = 0;
  uint32_t next_id_ = 0;
  int current_ = kNobody;
  int last_ = kNobody;
  int peeking_ = kNobody;  // the thread whose condition is being evaluated
  bool exploring_ = false, starting_ = false, abandoning_ = false, cut_ = false;
  std::string failure_;
  std::vector<Event> events_;
  std::vector<Cell*> extras_;
  Clock dep_[kProcs];
  uint32_t local_steps_ = 0;
  std::vector<const Event*> rest_;  // scratch of compare()

  bool logging_ = false;
  std::vector<std::string> log_;
};

Engine& engine();

}  // namespace graft::model
