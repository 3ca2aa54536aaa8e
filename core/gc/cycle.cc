// One cycle from beginning to end, when the next is due, and what is said about it; see gc.h. The
// cycle runs on a helper thread, so that the thread that asks is stopped and scanned like any other
// and the collector's own stack is no root.
#include "core/gc/gc.h"

#include <fcntl.h>

#include "core/base/bits.h"
#include "core/os/clock.h"
#include "core/os/mem.h"
#include "core/os/message.h"
#include "core/os/signals.h"
#include "core/os/sys.h"

namespace graft::gc {
namespace {

constexpr uint64_t kPatienceNs = 500'000'000;  // for every thread to answer

}  // namespace

// All that is the collector's and lies in its own reservation, which is no root.
struct Collector::Own {
  static constexpr size_t kRanges = 65536, kLeftOut = 65536, kStacks = 16384;
  Worker workers[kMostWorkers];
  char text[16_KiB];
  char bytes[1_MiB];  // hardly ever touched, and not kept
  RootSet::Job ranges[kRanges];
  uint32_t first_job[kRanges + 1];
  RootSet::Range left_out[kLeftOut];
  StackInfo stacks[kStacks];
  SiteLeaks sites[Leaks::kSites];
};

bool Collector::init(heap::Heap& heap, const World& world, const Settings& settings) {
  heap_ = &heap;
  world_ = world;
  settings_ = settings;
  if (settings_.workers > kMostWorkers) settings_.workers = kMostWorkers;
  own_bytes_ = roundUp(sizeof(Own), kOsPage);
  Addr at = os::reserve(own_bytes_, 0);
  if (at == 0 || !os::commit(at, own_bytes_)) return false;
  own_ = reinterpret_cast<Own*>(at);
  // Grey buffers for one object in eight of the largest heap: chains, the usual depth, need few.
  size_t most = heap.space.reservedBytes() / 64;
  if (!pool_.init(most < 16_GiB ? most : 16_GiB)) return false;
  if (!leaks_.init(heap, own_->sites)) return false;
  bool stress = settings.stress_every != 0;
  if (settings.reclaim) {
    if (!ladder_.init(heap, leaks_, {settings.wait_ms, stress || settings.wait_ms == 0, stress})) {
      return false;
    }
    shared_.pointer_guard = os::fsWord(os::kPointerGuard);
  }
  roots_.use({own_->ranges, own_->first_job, Own::kRanges, own_->left_out, Own::kLeftOut,
              own_->stacks, Own::kStacks, own_->text, sizeof own_->text});
  for (Worker& w : own_->workers) w.collector = this;
  shared_.filter = filterOf(bestFilter());
  look_every_ = settings.stress_every != 0 ? settings.stress_every : 4096;
  goal_.storeRelaxed(settings.floor_bytes);
  last_ms_.storeRelaxed(os::nowMs());
  started_ns_ = os::nowNs();
  on_ = true;
  return true;
}

// --- When

void Collector::lookForCause() {
  Cause cause = Cause::kStress;
  if (settings_.stress_every == 0) {
    uint64_t since = os::nowMs() - last_ms_.loadRelaxed();
    if (settings_.growth_percent >= 0 && bytesInUse() >= goal_.loadRelaxed()) {
      cause = Cause::kGrowth;
    } else if (settings_.period_ms != 0 && since >= settings_.period_ms) {
      cause = Cause::kPeriod;
    } else {
      return;
    }
  }
  due_.storeRelaxed(static_cast<uint32_t>(cause) + 1);
}

void Collector::collectDue() {
  uint32_t due = due_.exchangeRelaxed(0);
  if (due == 0) return;
  os::HoldSignals hold(signalsOpen());
  // Somebody else's cycle is as good.
  if (!mu_.tryLock()) return;
  collectLocked(static_cast<Cause>(due - 1), false);
  mu_.unlock();
}

// Detect: nothing is given back to the program's use, so what counts is all that is in use, not
// what lives: a program that frees what it no longer needs stays below the goal. Reclaim: what
// waits to be given back is no reason to wait longer, but a cycle looks at it.
void Collector::setGoal() {
  uint64_t used = bytesInUse(), base = used;
  uint64_t percent =
      settings_.growth_percent < 0 ? 0 : static_cast<uint64_t>(settings_.growth_percent);
  uint64_t step = 0;
  if (ladder_.on() && last_.complete) {
    base = last_.live_bytes;
    uint64_t waits = last_.white_bytes - last_.reclaimed_bytes;
    step = (settings_.floor_bytes > waits ? settings_.floor_bytes : waits) / 8;
  }
  if (base * percent / 100 > step) step = base * percent / 100;
  uint64_t goal = used + step;
  if (goal < settings_.floor_bytes) goal = settings_.floor_bytes;
  goal_.storeRelaxed(goal);
  last_ms_.storeRelaxed(os::nowMs());
}

// --- One cycle

// A handler would run in the middle of a cycle that its own thread waits for, and might fork. The
// stop signal, and faults, do not wait.
uint64_t Collector::signalsOpen() const {
  uint64_t open = 0;
  constexpr int kFaults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
  for (int s : kFaults) open |= uint64_t{1} << (s - 1);
  int stop = world_.signal != nullptr ? world_.signal(world_.self) : 0;
  return stop != 0 ? open | uint64_t{1} << (stop - 1) : open;
}

CycleStats Collector::collect(Cause cause, bool by_site) {
  if (!on_) return {};
  os::HoldSignals hold(signalsOpen());
  os::Lock lock(mu_);
  return collectLocked(cause, by_site);
}

CycleStats Collector::collectLocked(Cause cause, bool by_site) {
  cause_ = cause;
  by_site_ = by_site;
  uint64_t before = bytesInUse();
  last_ = {};
  last_.cycle = ++cycle_;
  Worker& first = own_->workers[0];
  if (first.thread.startWithTls(cycleEntry, this, settings_.tls_below)) {
    first.thread.join();
  } else {
    last_.why = "the kernel gives no thread";
    setGoal();
  }
  last_.complete = last_.why == nullptr;
  if (!last_.complete) noteIncomplete();
  totals_.cycles++;
  totals_.reclaimed_objects += last_.reclaimed_objects;
  totals_.reclaimed_bytes += last_.reclaimed_bytes;
  if (last_.held != nullptr) totals_.held = last_.held;
  totals_.stw_ns += last_.stw_ns;
  if (last_.stw_ns > totals_.longest_stw_ns) totals_.longest_stw_ns = last_.stw_ns;
  if (settings_.trace) trace(last_, before);
  return last_;
}

void Collector::noteIncomplete() {
  totals_.incomplete++;
  size_t n = base::stringLength(last_.why);
  if (n >= sizeof totals_.why) n = sizeof totals_.why - 1;
  base::copyBytes(totals_.why, last_.why, n);
  totals_.why[n] = '\0';
}

void Collector::useTls(size_t bytes) {
  if (!on_) return;
  os::Lock lock(mu_);
  settings_.tls_below = bytes;
  for (Worker& w : own_->workers) w.thread.forget();
}

void Collector::cycleEntry(void* self) { static_cast<Collector*>(self)->cycle(); }

void Collector::cycle() {
  uint64_t begin = os::nowNs();
  last_.why = world_.stop(world_.self, kPatienceNs);
  if (last_.why != nullptr) return setGoal();
  last_.why = cycleStopped();
  last_.complete = last_.why == nullptr;
  // Now: others may have used up what the goal leaves before this thread runs again.
  setGoal();
  world_.start(world_.self);
  last_.stw_ns = os::nowNs() - begin;
  heap_->sweepAll();
  heap_->endCycle();
  pool_.shrink();
}

// Null, or what was missed. The heap's cycle is closed in either case; only a complete one says
// anything about what is white.
const char* Collector::cycleStopped() {
  heap_->beginCycle();
  heap_->blackenCaches();
  shared_.heap = heap_;
  shared_.roots = &roots_;
  shared_.pool = &pool_;
  shared_.pages = &pages_;
  shared_.confirm = false;
  const char* why = nullptr;
  if (!pages_.open(settings_.deny_pagemap_scan)) why = "the page map cannot be read";
  shared_.mem_fd = os::sys(SYS_openat, AT_FDCWD, os::arg("/proc/self/mem"), O_RDONLY | O_CLOEXEC);
  if (os::failed(shared_.mem_fd)) why = "memory cannot be read";
  roots_.begin(heap_->space.base(), heap_->space.limit(),
               heap_->space.growsByMapping() ? heap_->space.limit() : heap_->space.reservedBytes());
  roots_.leaveOut(reinterpret_cast<Addr>(own_), own_bytes_);
  roots_.leaveOut(pool_.base(), pool_.reserved());
  for (Worker& w : own_->workers) roots_.leaveOut(w.thread.mapped, w.thread.mapped_bytes);
  leaks_.forEachMemory([this](Addr at, size_t bytes) { roots_.leaveOut(at, bytes); });
  ladder_.forEachMemory([this](Addr at, size_t bytes) { roots_.leaveOut(at, bytes); });
  heap_->forEachOwnMemory([this](Addr at, size_t bytes) { roots_.leaveOut(at, bytes); });
  world_.forEachStack(
      world_.self,
      [](void* arg, const StackInfo& s) { static_cast<Collector*>(arg)->roots_.addStack(s); },
      this);
  if (why == nullptr) why = roots_.build();
  if (why == nullptr) {
    uint64_t begin = os::nowNs();
    markFromRoots();
    last_.mark_ns = os::nowNs() - begin;
    why = readKernel();
    settleMarks();
  }
  for (uint32_t i = 0; i < settings_.workers; i++) {
    const MarkCounts& c = own_->workers[i].marker.counts();
    last_.live_objects += c.objects;
    last_.live_bytes += c.bytes;
    last_.roots_bytes += c.root_bytes;
    if (c.unreadable != 0 && why == nullptr) why = "a part of memory cannot be read";
  }
  if (why == nullptr) {
    Leaks::Totals t;
    if (!leaks_.find(last_.cycle, by_site_, shared_, t)) why = "no memory for records";
    last_.white_objects = t.objects;
    last_.white_bytes = t.bytes;
  }
  if (why == nullptr && ladder_.on()) reclaim();
  bool gives = last_.reclaimed_objects != 0;
  os::sys(SYS_close, shared_.mem_fd);
  pages_.close();
  heap_->finishMark(gives ? heap::SweepMode::kReclaim : heap::SweepMode::kDetect);
  acknowledgeAll();
  if (gives) heap_->sweepAll();
  return why;
}

// What is not looked at in full is a reason to hold everything.
const char* Collector::readKernel() {
  KernelRoots kernel{own_->bytes, sizeof own_->bytes,
                     [](void* arg, uint64_t w) { static_cast<Marker*>(arg)->rootWord(w); },
                     &own_->workers[0].marker};
  const char* why = kernel.read();
  Addr bytes = roundUp(reinterpret_cast<Addr>(own_->bytes), kOsPage);
  os::purge(bytes,
            roundDown(reinterpret_cast<Addr>(own_->bytes + sizeof own_->bytes), kOsPage) - bytes);
  return why;
}

// Alone, once no worker runs any more.
void Collector::settleMarks() {
  Marker& self = own_->workers[0].marker;
  self.drain();
  while (pool_.overflowed()) {
    pool_.clearOverflow();
    self.rescan();
  }
}

void Collector::reclaim() {
  last_.held = roots_.hides();
  if (last_.held != nullptr) return;
  if (!ladder_.assess(last_.cycle, os::nowMs(), bytesInUse(), shared_)) return;
  shared_.confirm = true;
  markFromRoots();
  Marker& self = own_->workers[0].marker;
  last_.held = readKernel();
  self.rescan();
  settleMarks();
  for (uint32_t i = 0; i < settings_.workers; i++) {
    if (own_->workers[i].marker.counts().unreadable != 0) last_.held = "a part cannot be read";
  }
  if (last_.held != nullptr) return;
  ladder_.quarantine(self);
  settleMarks();
  Ladder::Taken taken = ladder_.take();
  last_.reclaimed_objects = taken.objects;
  last_.reclaimed_bytes = taken.bytes;
  in_use_.fetchSubRelaxed(taken.bytes);
  last_.quarantined_objects = taken.quarantined;
}

void Collector::markFromRoots() {
  uint32_t n = settings_.workers;
  shared_.next_job.storeRelaxed(0);
  pool_.clearOverflow();
  Worker& self = own_->workers[0];
  for (uint32_t i = 0; i < n; i++) own_->workers[i].marker.begin(shared_);
  if (shared_.confirm) ladder_.holdBack(self.marker);
  // Those that the kernel refuses are not waited for.
  uint32_t running = 1;
  pool_.beginMark(n);
  for (uint32_t i = 1; i < n; i++) {
    if (!own_->workers[i].thread.startWithTls(workerEntry, &own_->workers[i],
                                              settings_.tls_below)) {
      break;
    }
    running++;
  }
  if (running != n) pool_.limitWorkers(running);
  if (!base::planted(base::Plant::kRegistersUnscanned)) {
    world_.forEachRegisters(
        world_.self,
        [](void* arg, Addr from, size_t bytes) {
          static_cast<Marker*>(arg)->rootRange(from, bytes);
        },
        &self.marker);
  }
  self.marker.run();
  for (uint32_t i = 1; i < running; i++) own_->workers[i].thread.join();
  while (pool_.overflowed()) {
    pool_.clearOverflow();
    self.marker.rescan();
  }
}

void Collector::workerEntry(void* worker) { static_cast<Worker*>(worker)->marker.run(); }

// [ACK-A] Every cache's owner stands still outside libgraft, or is a thread that is gone.
void Collector::acknowledgeAll() {
  heap_->caches.forEach([this](heap::MCache& c) { heap_->acknowledge(c); });
}

// --- Figures

CollectorTotals Collector::totals() {
  os::Lock lock(mu_);
  CollectorTotals t = totals_;
  t.late_frees = leaks_.lateFrees();
  return t;
}

bool Collector::isHelper(uint32_t tid) const {
  if (own_ == nullptr) return false;
  for (const Worker& w : own_->workers) {
    if (w.thread.tid.loadAcquire() == tid) return true;
  }
  return false;
}

// As Go's gctrace. What Go splits into two pauses around a concurrent mark is one pause here: its
// first part is stopping, its last is what follows the mark.
void Collector::trace(const CycleStats& s, uint64_t before) {
  auto ms = [](base::Line& out, uint64_t ns) -> base::Line& {
    out.udec(ns / 1'000'000).chr('.');
    uint64_t micros = ns / 1000 % 1000;
    if (micros < 100) out.chr('0');
    if (micros < 10) out.chr('0');
    return out.udec(micros);
  };
  auto mb = [](uint64_t bytes) { return (bytes + 1_MiB / 2) / 1_MiB; };
  base::Line out;
  uint64_t since = os::nowNs() - started_ns_;
  out.str("gc ").udec(s.cycle).str(" @");
  ms(out, since / 1000).str("s ");
  out.udec(since != 0 ? totals_.stw_ns * 100 / since : 0).str("%: ");
  uint64_t rest = s.stw_ns > s.mark_ns ? s.stw_ns - s.mark_ns : 0;
  ms(out, rest).chr('+');
  ms(out, s.mark_ns).str("+0 ms clock, ");
  ms(out, rest).str("+0/");
  ms(out, s.mark_ns * settings_.workers).str("/0+0 ms cpu, ");
  out.udec(mb(before)).str("->").udec(mb(before)).str("->").udec(mb(s.live_bytes));
  out.str(" MB, ").udec(mb(goal_.loadRelaxed())).str(" MB goal, 0 MB stacks, ");
  out.udec(mb(s.roots_bytes)).str(" MB globals, ").udec(settings_.workers).str(" P");
  if (cause_ == Cause::kAsked) out.str(" (forced)");
  if (ladder_.on()) {
    out.str(" (reclaimed ").udec(s.reclaimed_bytes / 1024).str(" KB, quarantined ");
    out.udec(s.quarantined_objects).str(" objects)");
  }
  if (s.held != nullptr) out.str(" (nothing is given back: ").str(s.held).chr(')');
  if (!s.complete) out.str(" (incomplete: ").str(s.why).chr(')');
  os::say(out.nl());
}

bool Collector::freedLate(const void* block) {
  uint16_t site = heap_->siteOf(block);
  if (!ladder_.freed(reinterpret_cast<Addr>(block))) return false;
  leaks_.countLateFree(site);
  if (said_late_.exchangeRelaxed(1) != 0) return true;
  base::Line out;
  out.str("graft: free(").hex(reinterpret_cast<Addr>(block));
  out.str("): the collector had given this block back, for nothing pointed to it any more; its ");
  out.str("allocation site is never reclaimed again. The program hides pointers: GRAFT_GC=detect ");
  out.str("is for it\n");
  os::say(out);
  return true;
}

// --- fork

// A thread that waits for a cycle of its own runs no handler that could fork.
void Collector::forkPrepare() {
  if (!on_) return;
  mu_.lockForFork();
  fork_locked_ = true;
}

void Collector::forkParent() {
  if (!fork_locked_) return;
  fork_locked_ = false;
  mu_.unlockAfterFork();
}

void Collector::forkChild() {
  if (!on_) return;
  fork_locked_ = false;
  mu_.reset();
  due_.storeRelaxed(0);
  for (Worker& w : own_->workers) w.thread.forget();
  if (!heap_->cycleActive()) return;
  if (heap_->phase() == heap::Phase::kMarking) heap_->finishMark(heap::SweepMode::kDetect);
  acknowledgeAll();
  heap_->sweepAll();
  heap_->endCycle();
}

}  // namespace graft::gc
