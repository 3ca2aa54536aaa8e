// When and how threads become Gs; see threads.h. Runs on the program's main thread (or the one that
// survived a fork), in its first pthread_create, outside signal handlers: it calls libc. A refusal
// is said once and holds for the life of the process.
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "core/os/message.h"
#include "core/os/peek.h"
#include "shims/glibc/facts.h"
#include "shims/io/fd_wait.h"
#include "shims/sync/sync.h"
#include "shims/threads/deadlock.h"
#include "shims/threads/life.h"
#include "shims/threads/rules.h"
#include "shims/threads/signals.h"
#include "shims/threads/threads.h"

namespace graft::shims {

using runtime::rt;

extern "C" {
thread_local constinit Thread graft_thread{};
}

namespace {

os::Mutex start_lock;
constinit glibc::ThreadBlock main_block{};

bool refuse(const char* why) {
  rt.why_no_gs = why;
  base::Line line;
  os::say(line.str("graft: threads stay kernel threads: ").str(why).nl());
  return false;
}

void adoptedEnded(glibc::ThreadBlock* b) { endThread(threadOf(b->fs_base)); }

// The calling thread becomes one of ours, unless it is (in the child of a G's fork).
const char* adoptSelf() {
  Thread& t = graft_thread;
  if (t.ours()) {
    glibc::markThreaded();
    return nullptr;
  }
  if (!glibc::adopt(&main_block)) return "the main thread's stack is not known";
  if (!glibc::catchExit(&main_block, adoptedEnded)) {
    return "pthread_exit of the main thread could not be caught";
  }
  t.block = &main_block;
  t.tid = static_cast<uint32_t>(os::gettid());
  os::sys(SYS_prctl, PR_GET_NAME, os::arg(t.name));
  return nullptr;
}

// On the control socket's thread; the record may lie in memory that the program takes back.
void describeG(const sched::G& g, base::Line& out) {
  Thread t{};
  if (g.user == nullptr) return;
  if (os::peek(reinterpret_cast<Addr>(g.user), static_cast<void*>(&t), sizeof t) != sizeof t)
    return;
  t.name[sizeof t.name - 1] = '\0';
  out.str(", \"name\": ").json(t.name).str(", \"tid\": ").udec(t.tid);
}

bool start() {
  if (rt.why_no_gs != nullptr) return false;
  if (os::gettid() != os::getpid()) return false;  // a thread of libc's own: not now
  if (const char* why = ruleAgainst()) return refuse(why);
  if (!glibc::calibrate()) return refuse(glibc::whyNotCalibrated());
  if (const char* why = adoptSelf()) return refuse(why);
  glibc::unregisterRseq();
  readDefaultAttr();
  sched::Config config;
  config.tls_below = glibc::staticTlsBelow();
  config.hooks.dead = onDead;
  config.hooks.deadlock = onAllAsleep;
  startSignals(config);
  if (!rt.startScheduler(config)) return refuse("no memory for the scheduler");
  rt.describe = describeG;
  sched::currentG()->user = &graft_thread;
  graft_thread.g = sched::currentG();
  startSignalThread();
  return true;
}

}  // namespace

bool startThreads() {
  if (rt.sched.on()) return onG();
  if (!rt.on() || base::options.threads.get() != base::Threads::kMToN) return false;
  os::Lock lock(start_lock);
  return rt.sched.on() ? onG() : start();
}

void forkChildThreads() {
  start_lock.reset();
  resetLife();
  forkChildSignals();
  forkChildDeadlock();
  forkChildIo();
  Thread& t = graft_thread;
  glibc::resetAfterFork(t.ours() ? t.block : nullptr);
  if (!t.ours()) return;
  t.tid = static_cast<uint32_t>(os::gettid());
  t.g = nullptr;
  t.joins.storeRelaxed(0);
  t.state.storeRelaxed(t.state.loadRelaxed() & Thread::kDetached);
}

}  // namespace graft::shims
