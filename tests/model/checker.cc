// Running schedules one after the other, traces of those that fail, and the entry points of the
// interleaving checker; checker.h says what is explored and found, engine.h how the parts fit.
//
// A schedule that ends early (failure, sleep-set cut) leaves threads in the middle: each is resumed
// with abandoning_ set and thrown out of its next load or read-modify-write.
#include "tests/model/checker.h"

#include <stdio.h>
#include <stdlib.h>

#include <chrono>
#include <exception>
#include <utility>

#include "tests/model/engine.h"

namespace graft::model {

Engine& engine() {
  static Engine* e = new Engine;  // never destroyed: fibers stay where they are
  return *e;
}

// --- One schedule --------------------------------------------------------------------------------

void Engine::addThread(std::string name, std::function<void()> body) {
  if (thread_count_ == kMaxThreads) fail("more than 8 threads");
  if (static_cast<size_t>(thread_count_) == threads_.size()) {
    threads_.push_back(std::make_unique<Thread>());
  }
  Thread& t = *threads_[thread_count_++];
  t.name = std::move(name);
  t.body = std::move(body);
}

void Engine::threadMain(void* thread) {
  Thread& t = *static_cast<Thread*>(thread);
  for (;;) {
    try {
      t.body();
    } catch (const Abandon&) {
    } catch (const std::exception& e) {
      engine().setFailure(std::string("exception: ") + e.what());
    }
    engine().finish();
  }
}

void Engine::runOnce(const std::function<void(Run&)>& scenario) {
  run_++;
  next_id_ = 0;
  thread_count_ = 0;
  finally_ = nullptr;
  events_.clear();
  extras_.clear();
  failure_.clear();
  log_.clear();
  cut_ = false;
  new_from_ = nodes_.empty() ? 0 : nodes_.size() - 1;
  local_steps_ = 0;
  last_ = kNobody;
  for (Clock& c : dep_) c = Clock();
  try {
    Run run;
    scenario(run);
    if (thread_count_ == 0) fail("a scenario without threads");
    starting_ = true;
    for (int i = 0; i < thread_count_ && failure_.empty(); i++) {
      Thread& t = *threads_[i];
      t.live = true;
      t.buffer.clear();
      t.flushed = 0;
      t.seen.clear();
      t.seen_before.clear();
      t.hb = t.to_acquire = t.fence_release = Clock();
      t.hb.at[i] = 1;
      if (!t.fiber.exists()) t.fiber.create(&Engine::threadMain, &t);
      current_ = i;
      main_.switchTo(t.fiber);
    }
    current_ = kNobody;
    starting_ = false;
    if (failure_.empty()) {
      dispatch();
      current_ = kNobody;
    }
    if (failure_.empty() && !cut_ && finally_) finally_();
  } catch (const Abandon&) {
  } catch (const std::exception& e) {
    setFailure(std::string("exception: ") + e.what());
  }
  starting_ = false;
  abandonAll();
  for (int i = 0; i < thread_count_; i++) {
    threads_[i]->body = nullptr;
    threads_[i]->condition = nullptr;
  }
  finally_ = nullptr;
}

void Engine::abandonAll() {
  abandoning_ = true;
  for (int i = 0; i < thread_count_; i++) {
    if (!threads_[i]->live) continue;
    current_ = i;
    main_.switchTo(threads_[i]->fiber);
  }
  abandoning_ = false;
  current_ = kNobody;
}

// Back to the stack of explore(); the caller is a thread.
void Engine::toMain() { me().fiber.switchTo(main_); }

// A thread's job has ended; returns when it is given another.
void Engine::finish() {
  me().live = false;
  if (starting_ || abandoning_ || !failure_.empty()) {
    toMain();
  } else {
    dispatch();
  }
}

void Engine::reach(Op op) {
  me().op = op;
  if (starting_) {
    toMain();
  } else {
    dispatch();
  }
}

// Called by operations that return something; the others just do nothing in an abandoned thread,
// so that destructors can make them.
void Engine::leaveIfAbandoned() {
  if (abandoning_ && std::uncaught_exceptions() == 0) throw Abandon();
}

// Runs flushes until it is a thread's turn and switches to that thread.
void Engine::dispatch() {
  int mine = current_;
  for (;;) {
    int p = pick();
    if (p >= kMaxThreads) {
      flushOne(p - kMaxThreads);
      continue;
    }
    if (p == mine) return;  // also: main asked and the run is over
    Fiber& from = mine == kNobody ? main_ : threads_[mine]->fiber;
    current_ = p;
    from.switchTo(p == kNobody ? main_ : threads_[p]->fiber);
    return;
  }
}

void Engine::fail(const std::string& what) {
  setFailure(what);
  throw Abandon();
}

void Engine::setFailure(const std::string& what) {
  if (failure_.empty()) failure_ = what;
}

// Guards against loops that never reach a scheduling point.
void Engine::localStep() {
  if (++local_steps_ == kMaxLocalSteps) fail("a loop without an operation that another can see");
}

// --- Traces --------------------------------------------------------------------------------------

std::string Engine::cellName(const Cell& c) {
  return c.label != nullptr ? c.label : "#" + std::to_string(c.id);
}

void Engine::note(int proc, const char* name, const Cell* c, const char* tail) {
  if (!logging_) return;
  const Thread& t = *threads_[proc % kMaxThreads];
  std::string who = proc < kMaxThreads ? t.name : t.name + "'s buffer";
  char line[256];
  snprintf(line, sizeof line, "%4zu  %-16s %-16s %s%s\n", events_.size(), who.c_str(), name,
           c != nullptr ? cellName(*c).c_str() : "", tail);
  log_.push_back(line);
}

void Engine::noteChange(int proc, const char* name, const Cell& c, uint64_t old, uint64_t now) {
  if (!logging_) return;
  std::string tail = " = " + std::to_string(static_cast<int64_t>(old));
  if (now != old) tail += " -> " + std::to_string(static_cast<int64_t>(now));
  note(proc, name, &c, tail.c_str());
}

std::string Engine::writeTrace() {
  std::string text;
  for (const std::string& line : log_) text += line;
  return text;
}

// --- Exploration ---------------------------------------------------------------------------------

Result Engine::explore(const Options& options, const std::function<void(Run&)>& scenario) {
  if (exploring_) {
    fprintf(stderr, "model::explore inside of model::explore\n");
    abort();
  }
  exploring_ = true;
  auto start = std::chrono::steady_clock::now();
  options_ = options;
  dpor_ = options.reduce && options.preemptions < 0;
  lazy_ = options.reduce && options.preemptions >= 0;
  main_.adoptCurrent();
  nodes_.clear();
  forced_.clear();
  for (char c : options.replay) {
    forced_.push_back(static_cast<int8_t>(c >= 'a' ? kMaxThreads + c - 'a' : c - '0'));
  }
  forced_on_ = logging_ = !forced_.empty();
  Result r;
  for (;;) {
    runOnce(scenario);
    r.steps_ += events_.size();
    (cut_ ? r.redundant_ : r.schedules_)++;
    if (forced_on_ || !failure_.empty()) break;
    if (!backtrack()) {
      r.complete_ = true;
      break;
    }
    if (r.schedules_ + r.redundant_ >= options.max_schedules) break;
  }
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::string counts = std::to_string(r.schedules_) + " schedules, " +
                       std::to_string(r.redundant_) + " cut short, " + std::to_string(r.steps_) +
                       " steps";
  r.failure_ = failure_;
  if (r.failed()) {
    std::vector<int8_t> path;
    for (const Event& e : events_) path.push_back(e.proc);
    for (int8_t p : path) {
      r.schedule_ += static_cast<char>(p < kMaxThreads ? '0' + p : 'a' + p - kMaxThreads);
    }
    if (!forced_on_) {
      // Once more, now with a log.
      forced_ = path;
      forced_on_ = logging_ = true;
      runOnce(scenario);
    }
    r.trace_ = r.failure_ + "\nschedule " + r.schedule_ + " (" + counts + ")\n" + writeTrace();
  } else if (forced_on_) {
    r.trace_ = "the replayed schedule does not fail\n" + writeTrace();
  } else {
    r.trace_ = r.complete_ ? "no failure; " + counts : "not finished; " + counts;
  }
  if (!options.quiet) {
    printf("[  model   ] %s, %.2f s%s%s\n", counts.c_str(), seconds, r.failed() ? "; found: " : "",
           r.failure_.c_str());
  }
  forced_on_ = logging_ = exploring_ = false;
  return r;
}

Result explore(const Options& options, const std::function<void(Run&)>& scenario) {
  return engine().explore(options, scenario);
}

// --- Entry points --------------------------------------------------------------------------------

void Run::thread(std::string name, std::function<void()> body) {
  engine().addThread(std::move(name), std::move(body));
}
void Run::finally(std::function<void()> check) { engine().setFinally(std::move(check)); }

int self() { return engine().current(); }
void waitUntil(std::function<bool()> pred) { engine().wait(std::move(pred)); }
void fail(const std::string& what) { engine().fail(what); }
void assertFailed(const char* what, const char* file, int line) {
  const char* slash = strrchr(file, '/');
  engine().fail(std::string(slash != nullptr ? slash + 1 : file) + ":" + std::to_string(line) +
                ": " + what);
}

Cell::Cell() : id(engine().nextId()), run(engine().run()) {}
VarCell::VarCell() : id(engine().nextId()), run(engine().run()) {}

uint64_t cellLoad(Cell& c, Order order, const char* name) { return engine().load(c, order, name); }
void cellStore(Cell& c, uint64_t v, Order order, const char* name) {
  engine().store(c, v, order, name);
}
void cellStoreSeqCst(Cell& c, uint64_t v) { engine().storeSeqCst(c, v); }
uint64_t cellBeginRmw(Cell& c, const char* name) { return engine().beginRmw(c, name); }
void cellEndRmw(Cell& c, uint64_t old, uint64_t now, bool wrote, Order order, const char* name) {
  engine().endRmw(c, old, now, wrote, order, name);
}
uint64_t ghostBegin(Cell& c, bool write, const char* name) {
  return engine().ghostBegin(c, write, name);
}
void ghostEnd(Cell& c, uint64_t old, uint64_t now, bool write, const char* name) {
  engine().ghostEnd(c, old, now, write, name);
}
void mutexLock(Cell& c) { engine().lock(c); }
bool mutexTryLock(Cell& c) { return engine().tryLock(c); }
void mutexUnlock(Cell& c) { engine().unlock(c); }
void varRead(VarCell& c) { engine().varAccess(c, false); }
void varWrite(VarCell& c) { engine().varAccess(c, true); }
void fenceAcquire() { engine().fence(true, false, false); }
void fenceRelease() { engine().fence(false, true, false); }
void fenceSeqCst() { engine().fence(true, true, true); }
void cpuRelax() { engine().relax(); }

}  // namespace graft::model
