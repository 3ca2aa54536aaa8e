// libc's own functions behind preload/export_threads.cc and export_signals.cc, looked up all at
// once in the constructor, or by the first call that comes before it; any thread, read only after.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

namespace graft::shims {

struct RealThreads {
#define REAL(name) decltype(&::name) name = nullptr;
#include "shims/threads/real.def"
#undef REAL
  bool resolved = false;
};
extern constinit RealThreads real_threads;
const RealThreads& resolveRealThreads();

inline const RealThreads& realThreads() {
  return __builtin_expect(real_threads.resolved, 1) ? real_threads : resolveRealThreads();
}

}  // namespace graft::shims
