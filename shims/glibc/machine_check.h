// What the processor, the kernel and the process must offer before a thread can be switched in user
// space, apart from glibc itself. Called once by calibrate(); any stack, no locks.
#pragma once

namespace graft::glibc {

// "" when threads can be switched in user space here, else the reason why not: FSGSBASE missing or
// denied (GRAFT_DENY), valgrind, an active shadow stack.
const char* whyNoUserSwitch();

}  // namespace graft::glibc
