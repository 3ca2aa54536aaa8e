// Names, ids, affinity and scheduling parameters of Gs. What only a kernel thread can have wires
// the G to its M from then on (SCHED.md, wire list); asked of another thread that is not wired, it
// is refused rather than given to whatever G comes next on that M. See ids.h.
#include "shims/threads/ids.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>

#include "shims/sync/sync.h"
#include "shims/threads/signals.h"

namespace graft::shims {

using runtime::rt;

namespace {

constexpr size_t kRobustHeadSize = 24;

bool gone(Thread& t) { return (t.state.loadAcquire() & (Thread::kEnded | Thread::kGone)) != 0; }
bool isSelf(Thread& t) { return &t == &graft_thread; }

// The kernel thread that is this thread's alone; 0: none.
int wiredTid(Thread& t) {
  sched::G* g = t.g;
  if (g == nullptr || g->locked_m == nullptr) return 0;
  return static_cast<int>(g->locked_m->tid.loadRelaxed());
}

// For good: an M that was changed runs nothing else while its G lives.
int wireSelf() {
  if (!rt.sched.ownsThread()) rt.sched.ownThread();
  return os::gettid();
}

int errorOf(long got) { return os::failed(got) ? static_cast<int>(-got) : 0; }

}  // namespace

Thread* threadWithTid(int tid) {
  Thread* found = nullptr;
  if (!rt.sched.on() || tid <= 0) return nullptr;
  rt.sched.forEachG([&](sched::G& g) {
    sched::GState s = g.state.look();
    if (s == sched::GState::kFree || s == sched::GState::kDead) return;
    auto* t = static_cast<Thread*>(g.user);
    if (t != nullptr && t->tid == static_cast<uint32_t>(tid)) found = t;
  });
  return found;
}

bool tidCall(long nr, long a, long b, long c, long& result) {
  if (!onG()) return false;
  // The word that the kernel clears at a thread's end is the M's own.
  if (nr == SYS_gettid || nr == SYS_set_tid_address) {
    result = graft_thread.tid;
    return true;
  }
  if (nr == SYS_get_robust_list && a == 0 && robustHead() != nullptr) {
    *reinterpret_cast<void**>(b) = robustHead();
    *reinterpret_cast<size_t*>(c) = kRobustHeadSize;
    result = 0;
    return true;
  }
  if (nr == SYS_set_robust_list) {  // an M's head is told the kernel when its G locks
    result = static_cast<size_t>(b) == kRobustHeadSize ? 0 : -EINVAL;
    return true;
  }
  if (nr != SYS_tgkill && nr != SYS_tkill) return false;
  bool with_process = nr == SYS_tgkill;
  if (with_process && a != os::getpid()) return false;
  Thread* t = threadWithTid(static_cast<int>(with_process ? b : a));
  if (t == nullptr) return false;
  int signal = static_cast<int>(with_process ? c : b);
  siginfo_t info{};
  info.si_signo = signal;
  info.si_code = SI_TKILL;
  info.si_pid = os::getpid();
  info.si_uid = static_cast<uid_t>(os::sys(SYS_getuid));
  result = -sendTo(*t, signal, &info);
  return true;
}

bool ownName(bool set, char* name) {
  if (!onG()) return false;
  if (!set) return getName(graft_thread, name, sizeof graft_thread.name) == 0;
  char cut[sizeof graft_thread.name] = {};
  for (size_t i = 0; i + 1 < sizeof cut && name[i] != '\0'; i++) cut[i] = name[i];
  return setName(graft_thread, cut) == 0;
}

int setName(Thread& t, const char* name) {
  size_t n = strlen(name);
  if (n >= sizeof t.name) return ERANGE;
  if (gone(t)) return ESRCH;
  memcpy(t.name, name, n + 1);
  if (t.block->kind != glibc::BlockKind::kAdopted) return 0;
  // The process's own name, too: ps shows it.
  long fd = os::sys(SYS_openat, AT_FDCWD, os::arg("/proc/self/comm"), O_WRONLY | O_CLOEXEC);
  if (os::failed(fd)) return errorOf(fd);
  os::sys(SYS_write, fd, os::arg(name), static_cast<long>(n));
  os::sys(SYS_close, fd);
  return 0;
}

int getName(Thread& t, char* out, size_t room) {
  if (room < sizeof t.name) return ERANGE;
  if (gone(t)) return ESRCH;
  memcpy(out, t.name, sizeof t.name);
  return 0;
}

int setAffinity(Thread& t, size_t size, const cpu_set_t* set) {
  if (gone(t)) return ESRCH;
  int tid = isSelf(t) ? wireSelf() : wiredTid(t);
  if (tid == 0) return ENOTSUP;
  return errorOf(os::sys(SYS_sched_setaffinity, tid, static_cast<long>(size), os::arg(set)));
}

int getAffinity(Thread& t, size_t size, cpu_set_t* set) {
  if (gone(t)) return ESRCH;
  // Ms that are nobody's alone have the mask of the process.
  int tid = isSelf(t) ? 0 : wiredTid(t);
  long got = os::sys(SYS_sched_getaffinity, tid, static_cast<long>(size), os::arg(set));
  if (os::failed(got)) return errorOf(got);
  memset(reinterpret_cast<char*>(set) + got, 0, size - static_cast<size_t>(got));
  return 0;
}

int setScheduling(Thread& t, int policy, const sched_param* param) {
  if (gone(t)) return ESRCH;
  int tid = wiredTid(t);
  if (tid == 0) {
    if (policy == SCHED_OTHER && param->sched_priority == 0) return 0;  // what it has
    if (!isSelf(t)) return ENOTSUP;
    tid = wireSelf();
  }
  return errorOf(os::sys(SYS_sched_setscheduler, tid, policy, os::arg(param)));
}

int getScheduling(Thread& t, int* policy, sched_param* param) {
  if (gone(t)) return ESRCH;
  int tid = wiredTid(t);
  *policy = SCHED_OTHER;
  *param = {};
  if (tid == 0) return 0;
  long got = os::sys(SYS_sched_getscheduler, tid);
  if (os::failed(got)) return errorOf(got);
  *policy = static_cast<int>(got);
  return errorOf(os::sys(SYS_sched_getparam, tid, os::arg(param)));
}

// What the attributes ask for and the kernel may refuse is tried before there is a thread.
int checkAttr(const pthread_attr_t* attr, bool& wires) {
  int inherit = PTHREAD_INHERIT_SCHED, policy = SCHED_OTHER;
  sched_param param{};
  pthread_attr_getinheritsched(attr, &inherit);
  pthread_attr_getschedpolicy(attr, &policy);
  pthread_attr_getschedparam(attr, &param);
  wires = rt.sched.ownsThread();
  if (inherit == PTHREAD_EXPLICIT_SCHED) {
    long low = os::sys(SYS_sched_get_priority_min, policy);
    long high = os::sys(SYS_sched_get_priority_max, policy);
    if (os::failed(low) || param.sched_priority < low || param.sched_priority > high) return EINVAL;
    wires = policy != SCHED_OTHER;
  }
  cpu_set_t wanted, may;
  CPU_ZERO(&may);
  if (pthread_attr_getaffinity_np(attr, sizeof wanted, &wanted) != 0) return 0;
  os::sys(SYS_sched_getaffinity, 0, sizeof may, os::arg(&may));
  CPU_AND(&may, &may, &wanted);
  if (CPU_COUNT(&may) == 0) return EINVAL;
  cpu_set_t all;
  memset(&all, 0xff, sizeof all);
  wires |= !CPU_EQUAL(&wanted, &all);
  return 0;
}

int applyAttr(const pthread_attr_t* attr, const cpu_set_t& creators) {
  int tid = wireSelf(), inherit = PTHREAD_INHERIT_SCHED, policy = SCHED_OTHER;
  sched_param param{};
  cpu_set_t wanted = creators;
  pthread_attr_getinheritsched(attr, &inherit);
  pthread_attr_getschedpolicy(attr, &policy);
  pthread_attr_getschedparam(attr, &param);
  if (inherit == PTHREAD_EXPLICIT_SCHED) {
    if (int error = errorOf(os::sys(SYS_sched_setscheduler, tid, policy, os::arg(&param))))
      return error;
  }
  cpu_set_t all;
  memset(&all, 0xff, sizeof all);
  pthread_attr_getaffinity_np(attr, sizeof wanted, &wanted);
  if (CPU_EQUAL(&wanted, &all)) wanted = creators;
  return errorOf(os::sys(SYS_sched_setaffinity, tid, sizeof wanted, os::arg(&wanted)));
}

}  // namespace graft::shims
