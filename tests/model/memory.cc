// What operations do in the interleaving checker: memory and store buffers of x86-TSO, the
// dependence clocks that the search works with, and the happens-before clocks of C++ by which plain
// variables are judged. Operations that return something leave an abandoned thread by an exception;
// the others then do nothing, so that destructors can make them.
#include <algorithm>
#include <exception>
#include <utility>

#include "tests/model/engine.h"

namespace graft::model {

// --- Effects -------------------------------------------------------------------------------------

// Cells may outlive a schedule; their clocks do not.
void Engine::touch(Cell& c) const {
  if (c.run == run_) return;
  c.run = run_;
  c.writes = c.accesses = c.released = Clock();
}

void Engine::commit(int proc, Kind kind, Cell* cell, bool write) {
  Clock clock = clockOf(proc);
  uint32_t extra_begin = static_cast<uint32_t>(extras_.size());
  if (kind == Kind::kWait) {
    for (Cell* c : threads_[proc]->condition_cells) extras_.push_back(c);
  }
  uint32_t extra_end = static_cast<uint32_t>(extras_.size());
  if (cell != nullptr) {
    touch(*cell);
    clock.join(write ? cell->accesses : cell->writes);
  }
  for (uint32_t i = extra_begin; i < extra_end; i++) {
    touch(*extras_[i]);
    clock.join(extras_[i]->writes);
  }
  int16_t index = ++clock.at[proc];
  dep_[proc] = clock;
  if (cell != nullptr) {
    cell->accesses.join(clock);
    if (write) cell->writes = cell->accesses;
  }
  for (uint32_t i = extra_begin; i < extra_end; i++) extras_[i]->accesses.join(clock);
  events_.push_back(
      {static_cast<int8_t>(proc), write, kind, index, cell, extra_begin, extra_end, clock});
}

void Engine::writeMemory(Cell& c, uint64_t v, int writer) {
  if (c.value == v) return;
  // A thread's own change is no news to it.
  for (Seen& s : threads_[writer]->seen) {
    if (s.cell == &c && s.version == c.version) s.version++;
  }
  c.version++;
  c.value = v;
}

void Engine::flushOne(int i) {
  Thread& t = *threads_[i];
  Buffered& b = t.buffer[t.flushed];
  commit(kMaxThreads + i, Kind::kWrite, b.cell, true);
  noteChange(kMaxThreads + i, "flush", *b.cell, b.cell->value, b.value);
  b.cell->released = b.released;
  writeMemory(*b.cell, b.value, i);
  if (++t.flushed == t.buffer.size()) {
    t.buffer.clear();
    t.flushed = 0;
  }
}

void Engine::sawCell(Thread& t, Cell& c, bool cas_failed) {
  for (Seen& s : t.seen) {
    if (s.cell != &c) continue;
    s.cas_failed |= cas_failed;
    return;  // keeps the oldest version: a change within the round is news as well
  }
  t.seen.push_back({&c, c.version, cas_failed});
}

void Engine::publish(Thread& t, Cell& c, Order order, bool chain) {
  const Clock& now = (order & kRelease) != 0 ? t.hb : t.fence_release;
  if (chain) {
    c.released.join(now);
  } else {
    c.released = now;
  }
  t.hb.at[current_]++;
}

void Engine::learn(Thread& t, Cell& c, Order order) {
  ((order & kAcquire) != 0 ? t.hb : t.to_acquire).join(c.released);
}

const Buffered* Engine::ownBuffered(const Thread& t, const Cell& c) const {
  for (size_t i = t.buffer.size(); i > t.flushed; i--) {
    if (t.buffer[i - 1].cell == &c) return &t.buffer[i - 1];
  }
  return nullptr;
}

uint64_t Engine::load(Cell& c, Order order, const char* name) {
  if (peeking_ != kNobody) {
    Thread& t = *threads_[peeking_];
    std::vector<Cell*>& cells = t.condition_cells;
    if (std::find(cells.begin(), cells.end(), &c) == cells.end()) cells.push_back(&c);
    const Buffered* own = ownBuffered(t, c);
    return own != nullptr ? own->value : c.value;
  }
  leaveIfAbandoned();
  if (direct()) return c.value;
  reach({Kind::kRead, false, &c, name});
  leaveIfAbandoned();
  if (direct()) return c.value;
  Thread& t = me();
  commit(current_, Kind::kRead, &c, false);
  sawCell(t, c, false);
  const Buffered* own = ownBuffered(t, c);
  if (own == nullptr) learn(t, c, order);
  uint64_t v = own != nullptr ? own->value : c.value;
  noteChange(current_, name, c, v, v);
  return v;
}

void Engine::store(Cell& c, uint64_t v, Order order, const char* name) {
  if (direct()) {
    c.value = v;
    return;
  }
  if (options_.store_buffers) {
    localStep();
    Thread& t = me();
    const Clock& released = (order & kRelease) != 0 ? t.hb : t.fence_release;
    t.buffer.push_back({&c, v, released, dep_[current_]});
    t.hb.at[current_]++;
    note(current_, name, &c, (" <- " + std::to_string(v) + ", buffered").c_str());
    return;
  }
  reach({Kind::kWrite, false, &c, name});
  if (direct()) return;
  commit(current_, Kind::kWrite, &c, true);
  noteChange(current_, name, c, c.value, v);
  writeMemory(c, v, current_);
  publish(me(), c, order, false);
}

void Engine::storeSeqCst(Cell& c, uint64_t v) {
  if (!direct()) reach({Kind::kWrite, true, &c, "store.seqcst"});
  if (direct()) {
    c.value = v;
    return;
  }
  commit(current_, Kind::kWrite, &c, true);
  noteChange(current_, "store.seqcst", c, c.value, v);
  writeMemory(c, v, current_);
  publish(me(), c, kRelease, false);
}

uint64_t Engine::beginRmw(Cell& c, const char* name) {
  leaveIfAbandoned();
  if (!direct()) reach({Kind::kWrite, true, &c, name});
  leaveIfAbandoned();
  return c.value;
}

void Engine::endRmw(Cell& c, uint64_t old, uint64_t now, bool wrote, Order order,
                    const char* name) {
  if (direct()) {
    c.value = now;
    return;
  }
  Thread& t = me();
  commit(current_, wrote ? Kind::kWrite : Kind::kRead, &c, wrote);
  noteChange(current_, name, c, old, now);
  sawCell(t, c, !wrote);
  learn(t, c, order);
  if (!wrote) return;
  writeMemory(c, now, current_);
  publish(t, c, order, true);
}

uint64_t Engine::ghostBegin(Cell& c, bool write, const char* name) {
  leaveIfAbandoned();
  if (!direct()) reach({write ? Kind::kWrite : Kind::kRead, false, &c, name});
  leaveIfAbandoned();
  return c.value;
}

void Engine::ghostEnd(Cell& c, uint64_t old, uint64_t now, bool write, const char* name) {
  if (!direct()) {
    commit(current_, write ? Kind::kWrite : Kind::kRead, &c, write);
    noteChange(current_, name, c, old, now);
  }
  c.value = now;
}

void Engine::lock(Cell& c) {
  leaveIfAbandoned();
  if (!direct()) reach({Kind::kLock, true, &c, "lock"});
  leaveIfAbandoned();
  if (direct()) return;
  commit(current_, Kind::kLock, &c, true);
  note(current_, "lock", &c, "");
  writeMemory(c, static_cast<uint64_t>(current_) + 1, current_);
  me().hb.join(c.released);
}

bool Engine::tryLock(Cell& c) {
  leaveIfAbandoned();
  if (!direct()) reach({Kind::kWrite, true, &c, "tryLock"});
  leaveIfAbandoned();
  if (direct()) return true;
  bool got = c.value == 0;
  commit(current_, got ? Kind::kWrite : Kind::kRead, &c, got);
  note(current_, "tryLock", &c, got ? "" : " held");
  sawCell(me(), c, false);
  if (got) {
    writeMemory(c, static_cast<uint64_t>(current_) + 1, current_);
    me().hb.join(c.released);
  }
  return got;
}

void Engine::unlock(Cell& c) {
  if (!direct()) reach({Kind::kUnlock, true, &c, "unlock"});
  if (direct()) return;
  if (c.value != static_cast<uint64_t>(current_) + 1) {
    setFailure("unlock of " + cellName(c) + ", which the thread does not hold");
  }
  commit(current_, Kind::kUnlock, &c, true);
  note(current_, "unlock", &c, "");
  writeMemory(c, 0, current_);
  publish(me(), c, kRelease, false);
}

void Engine::fence(bool acquire, bool release, bool seq_cst) {
  if (direct()) return;
  if (seq_cst && options_.store_buffers) {
    reach({Kind::kFence, true, nullptr, "fence.seqcst"});
    if (direct()) return;
    commit(current_, Kind::kFence, nullptr, false);
    note(current_, "fence.seqcst", nullptr, "");
  }
  Thread& t = me();
  if (acquire) t.hb.join(t.to_acquire);
  if (release) {
    t.fence_release = t.hb;
    t.hb.at[current_]++;
  }
}

void Engine::relax() {
  leaveIfAbandoned();
  if (direct()) return;
  Thread& t = me();
  localStep();
  if (!t.seen.empty() && !relaxLearned(t)) {
    reach({Kind::kRelax, false, nullptr, "cpuRelax"});
    leaveIfAbandoned();
    if (direct()) return;
    commit(current_, Kind::kRelax, nullptr, false);
    note(current_, "cpuRelax", nullptr, "");
  }
  t.seen_before.swap(t.seen);
  t.seen.clear();
}

void Engine::wait(std::function<bool()> condition) {
  leaveIfAbandoned();
  if (direct()) {
    if (!abandoning_ && !condition()) fail("waitUntil outside of a thread does not hold");
    return;
  }
  Thread& t = me();
  t.condition = std::move(condition);
  t.condition_cells.clear();
  reach({Kind::kWait, false, nullptr, "waitUntil"});
  leaveIfAbandoned();
  if (direct()) return;
  commit(current_, Kind::kWait, nullptr, false);
  note(current_, "waitUntil", nullptr, "");
  for (Cell* c : t.condition_cells) learn(t, *c, kAcquire);
}

// FastTrack's rule (Flanagan and Freund 2009) with whole clocks.
void Engine::varAccess(VarCell& c, bool write) {
  if (direct()) return;
  if (c.run != run_) {
    c.run = run_;
    c.reads = Clock();
    c.writer = kNobody;
  }
  const Clock& hb = me().hb;
  int other = kNobody;
  if (c.writer != kNobody && c.write_time > hb.at[c.writer]) other = c.writer;
  for (int t = 0; write && t < thread_count_; t++) {
    if (c.reads.at[t] > hb.at[t]) other = t;
  }
  std::string name = logging_ || other != kNobody
                         ? (c.label != nullptr ? c.label : "var" + std::to_string(c.id))
                         : "";
  if (logging_) note(current_, write ? "write" : "read", nullptr, (" " + name).c_str());
  if (other != kNobody && other != current_) {
    fail("data race on " + name + ": " + (write ? "write" : "read") + " by " + me().name +
         " is not ordered after an access by " + threads_[other]->name);
  }
  if (write) {
    c.writer = static_cast<int8_t>(current_);
    c.write_time = hb.at[current_];
    c.reads = Clock();
  } else {
    c.reads.at[current_] = hb.at[current_];
  }
}

}  // namespace graft::model
