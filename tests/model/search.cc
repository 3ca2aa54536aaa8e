// The search of the interleaving checker: what can happen in a state and which of it deserves a
// schedule of its own. Depth first; the path is nodes_, a schedule is replayed up to its last node.
//
// Reduction (no preemption bound). Each event carries a clock of the dependence order: same
// process, same cell with at least one write, a store before its flush, flushes before what waited
// for them. A new step is compared with all events before it: one that is dependent, could have
// been simultaneous and is not ordered before gets a backtrack point in the state before it, a
// process that can begin the reversed schedule (the source sets of Abdulla, Aronis, Jonsson and
// Sagonas 2014). Sleep sets drop what is equal to an explored schedule. Two kinds of waiting need
// care:
//  - lock waits for unlock: never simultaneous, so the race is with the lock before it;
//  - cpuRelax depends on nothing: what lets it go on is followed by a load that has the race. Where
//    the reversed schedule holds one, nothing says that it could go on there, and every process
//    becomes a backtrack point.
#include <algorithm>
#include <utility>

#include "tests/model/engine.h"

namespace graft::model {

// --- Choosing ------------------------------------------------------------------------------------

int Engine::pick() {
  if (!failure_.empty()) return kNobody;
  size_t n = events_.size();
  if (n >= options_.max_steps) {
    setFailure("no end after " + std::to_string(n) + " steps (livelock, or max_steps too low)");
    return kNobody;
  }
  uint32_t enabled = enabledMask();
  if (forced_on_) return pickForced(enabled);
  if (n < nodes_.size()) {
    if (nodes_[n].enabled != enabled) {
      setFailure("the scenario is not deterministic: another run of the same schedule differs");
      return kNobody;
    }
  } else {
    bool more = enabled != 0 && pickNew(enabled);
    if (enabled == 0 && !allDone()) setFailure(deadlockText());
    if (!more) {
      // What waits here may have been able to go before.
      for (int t = 0; dpor_ && t < thread_count_; t++) {
        if (threads_[t]->live && (enabled & bit(t)) == 0) findRaces(t);
      }
      return kNobody;
    }
  }
  int p = nodes_[n].chosen;
  if (dpor_ && n >= new_from_) findRaces(p);
  if (p < kMaxThreads) last_ = p;
  return p;
}

int Engine::pickForced(uint32_t enabled) {
  size_t n = events_.size();
  if (enabled == 0) {
    if (!allDone()) setFailure(deadlockText());
    return kNobody;
  }
  if (n >= forced_.size()) return lowest(enabled);
  if ((enabled & bit(forced_[n])) == 0) {
    setFailure("the schedule to replay does not fit this scenario");
    return kNobody;
  }
  return forced_[n];
}

// Makes the node of a state that is seen for the first time; false when every choice is asleep.
bool Engine::pickNew(uint32_t enabled) {
  Node node;
  node.enabled = enabled;
  node.last = static_cast<int8_t>(last_);
  uint32_t candidates = enabled;
  // Perhaps after flushes of its own buffer.
  node.goes_on =
      last_ != kNobody && threads_[last_]->live &&
      ((enabled & bit(last_)) != 0 || (threads_[last_]->op.drains && threads_[last_]->pending()));
  if (dpor_) {
    if (!nodes_.empty()) {
      const Node& parent = nodes_.back();
      uint32_t asleep = (parent.sleep | parent.done) & ~bit(parent.chosen);
      for (uint32_t rest = asleep; rest != 0; rest &= rest - 1) {
        int q = lowest(rest);
        if (!dependent(q, events_.back())) node.sleep |= bit(q);
      }
    }
    candidates &= ~node.sleep;
    if (candidates == 0) {
      cut_ = true;
      return false;
    }
  } else if (options_.preemptions >= 0) {
    node.left = options_.preemptions;
    if (!nodes_.empty()) {
      const Node& parent = nodes_.back();
      node.left = parent.left -
                  (parent.goes_on && parent.chosen < kMaxThreads && parent.chosen != parent.last);
    }
    if (node.goes_on && node.left == 0) candidates &= ~kThreadBits | bit(last_);
  }
  int p;
  if (last_ != kNobody && (candidates & bit(last_)) != 0) {
    p = last_;
  } else if (node.goes_on && (candidates & bit(kMaxThreads + last_)) != 0) {
    p = kMaxThreads + last_;
  } else {
    p = lowest(candidates);
  }
  node.chosen = static_cast<int8_t>(p);
  node.backtrack = dpor_ ? bit(p) : candidates;
  nodes_.push_back(node);
  return true;
}

// Moves the path to the next schedule; false when there is none.
bool Engine::backtrack() {
  while (!nodes_.empty()) {
    Node& node = nodes_.back();
    node.done |= bit(node.chosen);
    uint32_t rest = node.backtrack & ~node.done & ~node.sleep;
    if (rest != 0) {
      node.chosen = static_cast<int8_t>(lowest(rest));
      return true;
    }
    nodes_.pop_back();
  }
  return false;
}

// --- What can happen next ------------------------------------------------------------------------

uint32_t Engine::enabledMask() {
  uint32_t mask = 0;
  for (int t = 0; t < thread_count_; t++) {
    if (threads_[t]->live && threadEnabled(t)) mask |= bit(t);
  }
  uint32_t flushers = 0;
  for (int t = 0; t < thread_count_; t++) {
    if (threads_[t]->pending()) flushers |= bit(kMaxThreads + t);
  }
  if (lazy_ && mask != 0 && flushers != 0) flushers &= lazyFlushers();
  return mask | flushers;
}

bool Engine::threadEnabled(int i) {
  Thread& t = *threads_[i];
  if (t.op.drains && t.pending()) return false;
  switch (t.op.kind) {
    case Kind::kLock: return t.op.cell->value == 0;
    case Kind::kRelax: return relaxReady(t);
    case Kind::kWait: return holds(i);
    default: return true;
  }
}

bool Engine::relaxReady(const Thread& t) const {
  for (const Seen& s : t.seen) {
    if (s.cell->version != s.version) return true;
  }
  return false;
}

// A failed compare-and-swap has told the thread a value it did not know in the round before: the
// next round may succeed although nothing changes any more.
bool Engine::relaxLearned(const Thread& t) const {
  for (const Seen& s : t.seen) {
    if (!s.cas_failed) continue;
    bool known = std::any_of(t.seen_before.begin(), t.seen_before.end(), [&](const Seen& o) {
      return o.cell == s.cell && o.version == s.version && o.cas_failed;
    });
    if (!known) return true;
  }
  return false;
}

bool Engine::holds(int t) {
  peeking_ = t;
  bool yes = threads_[t]->condition();
  peeking_ = kNobody;
  return yes;
}

// Flushers that are worth a choice now: any other flush can as well happen later, since it and all
// that other processes are about to do commute.
uint32_t Engine::lazyFlushers() {
  uint32_t mask = 0;
  for (int t = 0; t < thread_count_; t++) {
    const Thread& own = *threads_[t];
    bool wanted = own.pending() && own.live && own.op.drains;
    for (size_t i = own.flushed; i < own.buffer.size() && !wanted; i++) {
      const Cell* c = own.buffer[i].cell;
      for (int q = 0; q < thread_count_ && !wanted; q++) {
        const Thread& other = *threads_[q];
        if (q == t) continue;
        wanted = (other.live && touches(other, c)) ||
                 (other.pending() && other.buffer[other.flushed].cell == c);
      }
    }
    if (wanted) mask |= bit(kMaxThreads + t);
  }
  return mask;
}

bool Engine::touches(const Thread& t, const Cell* c) const {
  if (t.op.kind == Kind::kRelax) {
    return std::any_of(t.seen.begin(), t.seen.end(), [c](const Seen& s) { return s.cell == c; });
  }
  if (t.op.kind == Kind::kWait) {
    return std::find(t.condition_cells.begin(), t.condition_cells.end(), c) !=
           t.condition_cells.end();
  }
  return t.op.cell == c;
}

bool Engine::allDone() const {
  for (int t = 0; t < thread_count_; t++) {
    if (threads_[t]->live) return false;
  }
  return true;
}

std::string Engine::deadlockText() {
  std::string text = "deadlock:";
  for (int i = 0; i < thread_count_; i++) {
    const Thread& t = *threads_[i];
    if (!t.live) continue;
    text += " " + t.name + " waits in " + t.op.name;
    if (t.op.cell != nullptr) text += "(" + cellName(*t.op.cell) + ")";
    text += ";";
  }
  text.pop_back();
  return text;
}

// --- Dependence ----------------------------------------------------------------------------------

// The events that are ordered before the step that proc would take.
Clock Engine::clockOf(int proc) const {
  Clock c = dep_[proc];
  if (proc >= kMaxThreads) {
    const Thread& t = *threads_[proc - kMaxThreads];
    c.join(t.buffer[t.flushed].after);
  } else if (threads_[proc]->op.drains) {
    c.join(dep_[kMaxThreads + proc]);
  }
  return c;
}

// Finds the events that the next step of proc is in a race with. Done when the step is taken, with
// all that has happened before it known: done earlier, the backtrack point could be one that a
// sleep set rightly covers, and the one that a longer past asks for would be missed.
void Engine::findRaces(int proc) {
  for (size_t e = 0; e < events_.size(); e++) compare(proc, e);
}

void Engine::compare(int proc, size_t at) {
  const Event& e = events_[at];
  if (e.proc == proc || !dependent(proc, e) || !simultaneous(proc, e)) return;
  Clock before = clockOf(proc);
  if (orderedBefore(e, before)) return;
  // The schedule that ends with proc before e is: up to e, then what did not follow from e, then
  // proc. Whoever can begin that will do.
  Node& node = nodes_[at];
  uint32_t initials = 0, seen = 0;
  bool unsure = false, proc_is_first = true;
  rest_.clear();
  for (size_t j = at + 1; j < events_.size(); j++) {
    const Event& f = events_[j];
    if (orderedBefore(e, f.clock)) continue;
    // What let a cpuRelax go on is not in the order: it may have been e.
    unsure |= f.kind == Kind::kRelax;
    if (orderedBefore(f, before) || dependent(proc, f)) proc_is_first = false;
    if ((seen & bit(f.proc)) == 0) {
      seen |= bit(f.proc);
      bool first = std::none_of(rest_.begin(), rest_.end(),
                                [&](const Event* k) { return orderedBefore(*k, f.clock); });
      if (first) initials |= bit(f.proc);
    }
    rest_.push_back(&f);
  }
  if (proc_is_first) initials |= bit(proc);
  initials &= node.enabled;
  if (unsure || initials == 0) {
    node.backtrack |= node.enabled;
  } else if ((initials & node.backtrack) == 0) {
    node.backtrack |= (initials & bit(proc)) != 0 ? bit(proc) : bit(lowest(initials));
  }
}

bool Engine::dependent(int proc, const Event& e) const {
  const Thread& t = *threads_[proc % kMaxThreads];
  auto conditionOf = [&](const Cell* c) {
    for (uint32_t i = e.extra_begin; i < e.extra_end; i++) {
      if (extras_[i] == c) return true;
    }
    return false;
  };
  if (proc >= kMaxThreads) {
    const Cell* c = t.buffer[t.flushed].cell;
    return e.cell == c || conditionOf(c);
  }
  switch (t.op.kind) {
    case Kind::kFence:
    case Kind::kRelax: return false;
    case Kind::kWait:
      return e.write && std::find(t.condition_cells.begin(), t.condition_cells.end(), e.cell) !=
                            t.condition_cells.end();
    default:
      if (e.cell == t.op.cell) return e.write || writes(t.op.kind);
      return writes(t.op.kind) && conditionOf(t.op.cell);
  }
}

// Whether there can be a state in which proc's step and e are both possible.
bool Engine::simultaneous(int proc, const Event& e) const {
  if (proc >= kMaxThreads) return true;
  const Op& op = threads_[proc]->op;
  if (op.kind == Kind::kLock && e.kind == Kind::kUnlock) return false;
  if (op.kind == Kind::kUnlock && e.kind == Kind::kLock) return false;
  return true;
}

}  // namespace graft::model
