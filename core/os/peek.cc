// process_vm_readv on ourselves, page by page, because a transfer stops at the piece that faults
// (peek.h). A sandbox may refuse the call: then there is nothing to read.
#include "core/os/peek.h"

#include <sys/uio.h>

#include "core/os/sys.h"

namespace graft::os {

size_t peek(Addr at, void* to, size_t n) {
  constexpr size_t kPieces = 32;
  size_t done = 0;
  while (done < n) {
    iovec from[kPieces];
    size_t count = 0, bytes = 0;
    for (; count < kPieces && done + bytes < n; count++) {
      Addr p = at + done + bytes;
      size_t piece = kOsPage - p % kOsPage;
      if (piece > n - done - bytes) piece = n - done - bytes;
      from[count] = {reinterpret_cast<void*>(p), piece};
      bytes += piece;
    }
    iovec into{static_cast<char*>(to) + done, bytes};
    long got =
        sys(SYS_process_vm_readv, getpid(), arg(&into), 1, arg(from), static_cast<long>(count), 0);
    if (failed(got) || got == 0) break;
    done += static_cast<size_t>(got);
    if (static_cast<size_t>(got) != bytes) break;
  }
  return done;
}

}  // namespace graft::os
