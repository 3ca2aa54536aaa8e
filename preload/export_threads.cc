// The exported functions of pthread.h, threads.h, sched.h and unistd.h that concern whole threads:
// each asks whether the thread is a G and goes to shims/threads, or else to libc's own function.
// Any thread of the program in user code.
#include <errno.h>
#include <sched.h>
#include <sys/syscall.h>
#include <threads.h>
#include <unistd.h>

#include "preload/process.h"
#include "shims/sync/sync.h"
#include "shims/threads/ids.h"
#include "shims/threads/real.h"
#include "shims/threads/threads.h"

#define GRAFT_EXPORT extern "C" [[gnu::visibility("default")]]

using namespace graft;  // the exported names live in the global namespace
using runtime::rt;
using shims::Join;
using shims::onG;
using shims::realThreads;
using shims::Thread;
using shims::threadOf;

namespace {

int toC11(int error) {
  switch (error) {
    case 0: return thrd_success;
    case ENOMEM:
    case EAGAIN: return thrd_nomem;
    case ETIMEDOUT: return thrd_timedout;
    case EBUSY: return thrd_busy;
    default: return thrd_error;
  }
}

bool isG(Thread& t) { return t.ours() && rt.sched.on(); }

// Before a thread is created. Gs and glibc's own synchronisation functions do not go together.
bool mayBeG() {
  rt.control.wanted();
  return preload::syncIsForGs() && shims::startThreads();
}

int withErrno(int error) {
  if (error == 0) return 0;
  errno = error;
  return -1;
}

}  // namespace

// --- Life

GRAFT_EXPORT int pthread_create(pthread_t* out, const pthread_attr_t* attr, void* (*fn)(void*),
                                void* arg) {
  if (mayBeG()) return shims::createThread(out, attr, fn, arg);
  return realThreads().pthread_create(out, attr, fn, arg);
}
GRAFT_EXPORT int pthread_join(pthread_t t, void** result) {
  Thread& r = threadOf(t);
  if (r.ours()) return shims::joinThread(r, result, Join::kWait, {});
  return realThreads().pthread_join(t, result);
}
GRAFT_EXPORT int pthread_tryjoin_np(pthread_t t, void** result) {
  Thread& r = threadOf(t);
  if (r.ours()) return shims::joinThread(r, result, Join::kTry, {});
  return realThreads().pthread_tryjoin_np(t, result);
}
GRAFT_EXPORT int pthread_timedjoin_np(pthread_t t, void** result, const timespec* at) {
  Thread& r = threadOf(t);
  if (r.ours()) return shims::joinThread(r, result, Join::kWait, {at, CLOCK_REALTIME});
  return realThreads().pthread_timedjoin_np(t, result, at);
}
GRAFT_EXPORT int pthread_clockjoin_np(pthread_t t, void** result, clockid_t clock,
                                      const timespec* at) {
  Thread& r = threadOf(t);
  if (r.ours()) return shims::joinThread(r, result, Join::kWait, {at, clock});
  return realThreads().pthread_clockjoin_np(t, result, clock, at);
}
GRAFT_EXPORT int pthread_detach(pthread_t t) {
  Thread& r = threadOf(t);
  return r.ours() ? shims::detachThread(r) : realThreads().pthread_detach(t);
}

GRAFT_EXPORT int thrd_create(thrd_t* out, thrd_start_t fn, void* arg) {
  if (!mayBeG()) return realThreads().thrd_create(out, fn, arg);
  // An int is returned where a pointer's lower half is, and thrd_join reads just that.
  auto* body = reinterpret_cast<void* (*)(void*)>(reinterpret_cast<void*>(fn));
  return toC11(shims::createThread(out, nullptr, body, arg));
}
GRAFT_EXPORT int thrd_join(thrd_t t, int* result) {
  if (!threadOf(t).ours()) return realThreads().thrd_join(t, result);
  void* got = nullptr;
  int error = pthread_join(t, &got);
  if (error == 0 && result != nullptr) *result = static_cast<int>(reinterpret_cast<intptr_t>(got));
  return toC11(error);
}
GRAFT_EXPORT int thrd_detach(thrd_t t) {
  return threadOf(t).ours() ? toC11(pthread_detach(t)) : realThreads().thrd_detach(t);
}

// --- Attributes

GRAFT_EXPORT int pthread_getattr_np(pthread_t t, pthread_attr_t* out) {
  Thread& r = threadOf(t);
  bool made = r.ours() && r.block->kind == glibc::BlockKind::kThread;
  return made ? shims::describeThread(r, out) : realThreads().pthread_getattr_np(t, out);
}
GRAFT_EXPORT int pthread_setattr_default_np(const pthread_attr_t* attr) {
  int error = realThreads().pthread_setattr_default_np(attr);
  if (error == 0 && rt.sched.on()) shims::readDefaultAttr();
  return error;
}

GRAFT_EXPORT int pthread_setname_np(pthread_t t, const char* name) {
  Thread& r = threadOf(t);
  return isG(r) ? shims::setName(r, name) : realThreads().pthread_setname_np(t, name);
}
GRAFT_EXPORT int pthread_getname_np(pthread_t t, char* out, size_t room) {
  Thread& r = threadOf(t);
  return isG(r) ? shims::getName(r, out, room) : realThreads().pthread_getname_np(t, out, room);
}
GRAFT_EXPORT int pthread_setaffinity_np(pthread_t t, size_t size, const cpu_set_t* set) {
  Thread& r = threadOf(t);
  if (isG(r)) return shims::setAffinity(r, size, set);
  return realThreads().pthread_setaffinity_np(t, size, set);
}
GRAFT_EXPORT int pthread_getaffinity_np(pthread_t t, size_t size, cpu_set_t* set) {
  Thread& r = threadOf(t);
  if (isG(r)) return shims::getAffinity(r, size, set);
  return realThreads().pthread_getaffinity_np(t, size, set);
}
GRAFT_EXPORT int pthread_setschedparam(pthread_t t, int policy, const sched_param* param) {
  Thread& r = threadOf(t);
  if (isG(r)) return shims::setScheduling(r, policy, param);
  return realThreads().pthread_setschedparam(t, policy, param);
}
GRAFT_EXPORT int pthread_getschedparam(pthread_t t, int* policy, sched_param* param) {
  Thread& r = threadOf(t);
  if (isG(r)) return shims::getScheduling(r, policy, param);
  return realThreads().pthread_getschedparam(t, policy, param);
}
GRAFT_EXPORT int pthread_setschedprio(pthread_t t, int priority) {
  Thread& r = threadOf(t);
  if (!isG(r)) return realThreads().pthread_setschedprio(t, priority);
  int policy;
  sched_param param;
  if (int error = shims::getScheduling(r, &policy, &param)) return error;
  param.sched_priority = priority;
  return shims::setScheduling(r, policy, &param);
}
// A clock per thread needs a kernel thread per thread: the caller's is right until it moves.
GRAFT_EXPORT int pthread_getcpuclockid(pthread_t t, clockid_t* clock) {
  Thread& r = threadOf(t);
  if (!isG(r)) return realThreads().pthread_getcpuclockid(t, clock);
  if (t != pthread_self()) return ENOENT;
  *clock = CLOCK_THREAD_CPUTIME_ID;
  return 0;
}

GRAFT_EXPORT pid_t gettid() {
  return onG() ? static_cast<pid_t>(shims::graft_thread.tid) : os::gettid();
}
GRAFT_EXPORT int tgkill(pid_t process, pid_t tid, int signal) {
  return static_cast<int>(syscall(SYS_tgkill, process, tid, signal));
}
GRAFT_EXPORT int sched_setaffinity(pid_t tid, size_t size, const cpu_set_t* set) {
  Thread* t = onG() ? tid == 0 ? &shims::graft_thread : shims::threadWithTid(tid) : nullptr;
  if (t != nullptr) return withErrno(shims::setAffinity(*t, size, set));
  return realThreads().sched_setaffinity(tid, size, set);
}
GRAFT_EXPORT int sched_getaffinity(pid_t tid, size_t size, cpu_set_t* set) {
  Thread* t = onG() ? tid == 0 ? &shims::graft_thread : shims::threadWithTid(tid) : nullptr;
  if (t != nullptr) return withErrno(shims::getAffinity(*t, size, set));
  return realThreads().sched_getaffinity(tid, size, set);
}

// --- Yielding and sleeping

GRAFT_EXPORT int sched_yield() {
  if (onG()) {
    rt.sched.yield();
  } else {
    os::sys(SYS_sched_yield);
  }
  return 0;
}
// The header gives pthread_yield another assembler name.
GRAFT_EXPORT int graftPthreadYield() asm("pthread_yield");
GRAFT_EXPORT int graftPthreadYield() { return sched_yield(); }
GRAFT_EXPORT void thrd_yield() { sched_yield(); }

GRAFT_EXPORT int clock_nanosleep(clockid_t clock, int flags, const timespec* time, timespec* left) {
  if (!onG() || !shims::clockSupported(clock)) {
    return realThreads().clock_nanosleep(clock, flags, time, left);
  }
  return shims::sleepFor(clock, flags, time, left);
}
GRAFT_EXPORT int nanosleep(const timespec* time, timespec* left) {
  if (!onG()) return realThreads().nanosleep(time, left);
  return withErrno(shims::sleepFor(CLOCK_MONOTONIC, 0, time, left));
}
GRAFT_EXPORT int usleep(useconds_t us) {
  if (!onG()) return realThreads().usleep(us);
  timespec t{static_cast<time_t>(us / 1'000'000), static_cast<long>(us % 1'000'000) * 1000};
  return withErrno(shims::sleepFor(CLOCK_MONOTONIC, 0, &t, nullptr));
}
GRAFT_EXPORT unsigned sleep(unsigned seconds) {
  if (!onG()) return realThreads().sleep(seconds);
  timespec t{static_cast<time_t>(seconds), 0}, left{};
  if (shims::sleepFor(CLOCK_MONOTONIC, 0, &t, &left) == 0) return 0;
  return static_cast<unsigned>(left.tv_sec + (left.tv_nsec >= 500'000'000 ? 1 : 0));
}
GRAFT_EXPORT int thrd_sleep(const timespec* time, timespec* left) {
  if (!onG()) return realThreads().thrd_sleep(time, left);
  int error = shims::sleepFor(CLOCK_REALTIME, 0, time, left);
  if (error == 0) return 0;
  return error == EINTR ? -1 : -2;
}
