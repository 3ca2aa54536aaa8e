// Looks the offset of the thread id up before calibration does; see own_tid.h. One dlsym and one
// system call, in the constructor.
#include "shims/glibc/own_tid.h"

#include <dlfcn.h>

#include "shims/glibc/tcb.h"

namespace graft::glibc {

void findOwnTid() {
  if (facts.tid != 0) return;
  auto* descriptor = static_cast<const uint32_t*>(dlsym(RTLD_DEFAULT, "_thread_db_pthread_tid"));
  if (descriptor == nullptr || descriptor[0] != 32 || descriptor[2] > 4096) return;
  int64_t offset = descriptor[2];
  if (tidAt(offset) == static_cast<uint32_t>(os::gettid())) facts.tid = offset;
}

}  // namespace graft::glibc
