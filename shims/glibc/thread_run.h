// What thread_run.cc shares with the other files of this folder: the end of a thread that graft did
// not start. On the thread itself.
#pragma once

#include "shims/glibc/thread_block.h"

namespace graft::glibc {

// Destroys the values of keys and fetches the result that pthread_exit stored.
void endAdopted(ThreadBlock* block);

}  // namespace graft::glibc
