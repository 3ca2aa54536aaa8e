// What a program may ask of the kernel about one of its threads when that thread is a G: its name,
// its id, where and how it is scheduled. Error numbers as the pthread functions return them. Any
// thread of the program in user code, with a record that graft made.
#pragma once

#include <sched.h>

#include "shims/threads/threads.h"

namespace graft::shims {

inline constexpr uint32_t kFirstTid = 0x10000000;  // above every kernel's, below FUTEX_OWNER_DIED

// The living thread that gettid() names so, or null.
Thread* threadWithTid(int tid);

int setName(Thread& t, const char* name);
int getName(Thread& t, char* out, size_t room);
int setAffinity(Thread& t, size_t size, const cpu_set_t* set);
int getAffinity(Thread& t, size_t size, cpu_set_t* set);
int setScheduling(Thread& t, int policy, const sched_param* param);
int getScheduling(Thread& t, int* policy, sched_param* param);

// gettid, tkill, tgkill and what tells the kernel of words of the thread, through syscall(). True:
// `result` is the kernel's answer.
bool tidCall(long nr, long a, long b, long c, long& result);
// prctl's PR_SET_NAME and PR_GET_NAME. False: the kernel's business.
bool ownName(bool set, char* name);

// Before a thread is created: 0 or an error number; whether it needs a kernel thread of its own.
int checkAttr(const pthread_attr_t* attr, bool& wires);
// On a new thread that does; `creators`: where its creator may run. 0 or an error number.
int applyAttr(const pthread_attr_t* attr, const cpu_set_t& creators);

}  // namespace graft::shims
