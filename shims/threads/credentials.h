// set*id and setgroups of a program whose threads are Gs: the kernel keeps credentials per thread,
// and glibc's own broadcast does not know our kernel threads. Each of them is sent a signal whose
// handler makes the system call. Any thread of the program in user code; one at a time.
#pragma once

namespace graft::shims {

// True: made on every kernel thread of the process, and `result` is 0 or -errno. False: threads are
// kernel threads of glibc's, which does it itself.
bool onEveryThread(long nr, long a, long b, long c, long& result);

}  // namespace graft::shims
