// Calls that change what a process is allowed to do, or need it to be single-threaded: the
// scavenger's thread (and the control socket's) is ended first, so that it keeps no old credentials
// and stands in no one's way. Credentials, namespaces, capabilities, seccomp; by name and through
// syscall(), which also takes futex(2) to shims/sync. The program's thread; each forwards to the
// real function, found at its first use.
#include <dlfcn.h>
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>

#include "core/os/sys.h"
#include "core/runtime/runtime.h"
#include "preload/process.h"
#include "shims/sync/sync.h"
#include "shims/threads/credentials.h"
#include "shims/threads/ids.h"

#define GRAFT_EXPORT extern "C" [[gnu::visibility("default")]]

namespace {

void endScavenger(bool forever = false) {
  if (!graft::runtime::rt.on()) return;
  graft::runtime::rt.scavenger.stop(forever);
  graft::runtime::rt.control.stop(forever);
}

// What syscall() returns for the kernel's answer.
long valueOf(long got) {
  if (!graft::os::failed(got)) return got;
  errno = static_cast<int>(-got);
  return -1;
}

template <class F>
F real(const char* name, void** cache) {
  if (*cache == nullptr) *cache = dlsym(RTLD_NEXT, name);
  return reinterpret_cast<F>(*cache);
}

template <class... Args>
int forward(const char* name, void** cache, Args... args) {
  endScavenger();
  return real<int (*)(Args...)>(name, cache)(args...);
}

// The same where libc's broadcast does not reach our kernel threads.
bool everywhere(int& result, long nr, long a = 0, long b = 0, long c = 0) {
  if (!graft::runtime::rt.sched.on()) return false;
  endScavenger();
  long got;
  if (!graft::shims::onEveryThread(nr, a, b, c, got)) return false;
  result = graft::os::failed(got) ? -1 : 0;
  if (result != 0) errno = static_cast<int>(-got);
  return true;
}

}  // namespace

#define GRAFT_CACHED(name, ...) \
  static void* next = nullptr;  \
  return forward(name, &next, ##__VA_ARGS__)

#define GRAFT_UNPACK(...) __VA_ARGS__
#define GRAFT_EVERYWHERE(name, nr, kernel_args, ...)                   \
  int result = 0;                                                      \
  if (everywhere(result, nr, GRAFT_UNPACK kernel_args)) return result; \
  GRAFT_CACHED(name, __VA_ARGS__)

GRAFT_EXPORT int setuid(uid_t u) { GRAFT_EVERYWHERE("setuid", SYS_setuid, (u), u); }
GRAFT_EXPORT int setgid(gid_t g) { GRAFT_EVERYWHERE("setgid", SYS_setgid, (g), g); }
GRAFT_EXPORT int seteuid(uid_t u) { GRAFT_EVERYWHERE("seteuid", SYS_setresuid, (-1, u, -1), u); }
GRAFT_EXPORT int setegid(gid_t g) { GRAFT_EVERYWHERE("setegid", SYS_setresgid, (-1, g, -1), g); }
GRAFT_EXPORT int setreuid(uid_t r, uid_t e) {
  GRAFT_EVERYWHERE("setreuid", SYS_setreuid, (r, e), r, e);
}
GRAFT_EXPORT int setregid(gid_t r, gid_t e) {
  GRAFT_EVERYWHERE("setregid", SYS_setregid, (r, e), r, e);
}
GRAFT_EXPORT int setresuid(uid_t r, uid_t e, uid_t s) {
  GRAFT_EVERYWHERE("setresuid", SYS_setresuid, (r, e, s), r, e, s);
}
GRAFT_EXPORT int setresgid(gid_t r, gid_t e, gid_t s) {
  GRAFT_EVERYWHERE("setresgid", SYS_setresgid, (r, e, s), r, e, s);
}
GRAFT_EXPORT int setgroups(size_t n, const gid_t* g) {
  GRAFT_EVERYWHERE("setgroups", SYS_setgroups, (static_cast<long>(n), graft::os::arg(g)), n, g);
}
// libc's calls its own setgroups.
GRAFT_EXPORT int initgroups(const char* u, gid_t g) {
  if (!graft::runtime::rt.sched.on()) {
    GRAFT_CACHED("initgroups", u, g);
  }
  gid_t groups[NGROUPS_MAX];
  int n = NGROUPS_MAX;
  if (getgrouplist(u, g, groups, &n) < 0) n = NGROUPS_MAX;
  return setgroups(static_cast<size_t>(n), groups);
}
// See vfork.S.
extern "C" void graftVforkBegins() {
  if (graft::shims::onG()) graft::sched::currentG()->vforked++;
}
extern "C" int graftVforkEnds(long got) {
  if (graft::shims::onG()) graft::sched::currentG()->vforked--;
  if (!graft::os::failed(got)) return static_cast<int>(got);
  errno = static_cast<int>(-got);
  return -1;
}
GRAFT_EXPORT int unshare(int flags) { GRAFT_CACHED("unshare", flags); }
GRAFT_EXPORT int setns(int fd, int type) { GRAFT_CACHED("setns", fd, type); }
GRAFT_EXPORT int capset(void* head, const void* data) { GRAFT_CACHED("capset", head, data); }

// Not through exit: no destructor removes the control socket's file. In a child of vfork it stays.
GRAFT_EXPORT [[noreturn]] void _exit(int status) {
  graft::runtime::rt.control.leave();
  for (;;) graft::os::sys(SYS_exit_group, status);
}
GRAFT_EXPORT [[noreturn]] void _Exit(int status) { _exit(status); }

// prctl and syscall are variadic in the headers; in registers they are what stands here.
GRAFT_EXPORT int graftPrctl(int option, unsigned long a, unsigned long b, unsigned long c,
                            unsigned long d) asm("prctl");
GRAFT_EXPORT int graftPrctl(int option, unsigned long a, unsigned long b, unsigned long c,
                            unsigned long d) {
  bool sandbox = option == PR_SET_SECCOMP;
  bool privileges = option == PR_SET_NO_NEW_PRIVS || option == PR_CAPBSET_DROP ||
                    option == PR_CAP_AMBIENT || option == PR_SET_SECUREBITS;
  if (sandbox || privileges) endScavenger(sandbox);
  if (option == PR_SET_NAME || option == PR_GET_NAME) {
    if (graft::shims::ownName(option == PR_SET_NAME, reinterpret_cast<char*>(a))) return 0;
  }
  long got = graft::os::sys(SYS_prctl, option, static_cast<long>(a), static_cast<long>(b),
                            static_cast<long>(c), static_cast<long>(d));
  if (!graft::os::failed(got)) return static_cast<int>(got);
  errno = static_cast<int>(-got);
  return -1;
}

// Everything else is a jump to the real syscall(): it may return twice or on another stack.
extern "C" [[gnu::visibility("hidden")]] void* graft_real_syscall;
void* graft_real_syscall = nullptr;

GRAFT_EXPORT long graftSyscall(long nr, long a, long b, long c, long d, long e,
                               long f) asm("syscall");
GRAFT_EXPORT long graftSyscall(long nr, long a, long b, long c, long d, long e, long f) {
  switch (nr) {
    case SYS_seccomp: endScavenger(true); break;
    case SYS_prctl:
      if (a == PR_SET_SECCOMP || a == PR_SET_NO_NEW_PRIVS) endScavenger(a == PR_SET_SECCOMP);
      break;
    case SYS_setuid:
    case SYS_setgid:
    case SYS_setreuid:
    case SYS_setregid:
    case SYS_setresuid:
    case SYS_setresgid:
    case SYS_setgroups:
    case SYS_capset:
    case SYS_unshare:
    case SYS_setns: endScavenger(); break;
    case SYS_futex: {
      long result;
      if (graft::shims::futexCall(graft::runtime::rt.sched, {a, b, c, d, e, f}, result)) {
        return valueOf(result);
      }
      break;
    }
    case SYS_gettid:
    case SYS_set_tid_address:
    case SYS_get_robust_list:
    case SYS_set_robust_list:
    case SYS_tgkill:
    case SYS_tkill: {
      long result;
      if (graft::shims::tidCall(nr, a, b, c, result)) return valueOf(result);
      break;
    }
    default: break;
  }
  using Syscall = long (*)(long, long, long, long, long, long, long);
  if (graft_real_syscall != nullptr) {
    return reinterpret_cast<Syscall>(graft_real_syscall)(nr, a, b, c, d, e, f);
  }
  // Before our constructor has run (see resolveProcess).
  return valueOf(graft::os::sys(nr, a, b, c, d, e, f));
}

namespace graft::preload {

// syscall() may be called from a signal handler, where dlsym may not: resolved beforehand.
void resolveProcess() { graft_real_syscall = dlsym(RTLD_NEXT, "syscall"); }

}  // namespace graft::preload
