// Threads of the program as Gs: creating, joining, ending, sleeping, and what a program may ask
// about its threads. The exports in preload/export_threads.cc come here while threadsAreGs(), or
// when a thread's record says that graft made it; error numbers are glibc's.
//
// Dormant until the first pthread_create: startThreads() then decides, once per process, whether
// threads can be Gs here (option GRAFT_THREADS, glibc's facts, the rule list), and makes the main
// thread the first G. Called on the program's threads in user code; onDead on g0.
#pragma once

#include <pthread.h>
#include <time.h>

#include "shims/sync/waits.h"
#include "shims/threads/thread.h"

namespace graft::shims {

// The calling thread is a G.
inline bool onG() { return runtime::rt.sched.on() && sched::currentG() != nullptr; }

// Before a thread is created. True: create it with createThread().
bool startThreads();

int createThread(pthread_t* out, const pthread_attr_t* attr, void* (*fn)(void*), void* arg);
// pthread_setattr_default_np changed what threads without attributes get.
void readDefaultAttr();

enum class Join { kWait, kTry };
int joinThread(Thread& t, void** result, Join how, const Deadline& until);
int detachThread(Thread& t);

// The main thread called pthread_exit, or a G's function is done: does not return.
[[noreturn]] void endThread(Thread& t);

int sleepFor(clockid_t clock, int flags, const timespec* time, timespec* left);

int describeThread(Thread& t, pthread_attr_t* out);  // pthread_getattr_np

// Child of fork, on the surviving thread, after the runtime's part.
void forkChildThreads();

}  // namespace graft::shims
