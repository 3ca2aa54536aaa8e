// The synchronisation functions of a process whose threads are Gs: what the exports of
// export_sync.cc jump to there, under the exports' names. Any thread of the program in user code;
// sem_post in its signal handlers.
#pragma once

#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <threads.h>
#include <time.h>

namespace graft::preload {

using RoutineOfOnce = void();

namespace gs {

#define SYNC(type, name, parameters, arguments) type name parameters;
#define ALIAS(second, name)
#include "preload/jumps.def"
#undef ALIAS
#undef SYNC

}  // namespace gs
}  // namespace graft::preload
