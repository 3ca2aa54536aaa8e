// Builds the frame that graft_leave and graft_resume pop when they go to a context for the first
// time; see switch.h. The layout below and the pops in switch_amd64.S change together. Any stack,
// no locks.
#include "core/os/switch.h"

#include <elf.h>
#include <fcntl.h>

#include "core/os/sys.h"

namespace graft::os {
namespace {

struct Frame {
  uint32_t mxcsr;
  uint16_t x87cw;
  uint16_t unused;
  uint64_t r15, r14, r13, r12, rbx, rbp;
  void (*ret)();
  uint64_t pad[1];  // rsp is a multiple of 16 once `ret` is popped
};

extern "C" [[gnu::visibility("hidden")]] void graft_first_frame();

}  // namespace

void makeContext(Context* c, void* stack_low, size_t stack_size, void (*entry)(void*), void* arg) {
  uintptr_t top = (reinterpret_cast<uintptr_t>(stack_low) + stack_size) & ~uintptr_t{15};
  uintptr_t at = top - 16 - sizeof(uint64_t) * 8;
  Frame* f = reinterpret_cast<Frame*>(at);
  f->r15 = f->r14 = f->rbx = f->rbp = 0;
  f->r12 = reinterpret_cast<uintptr_t>(entry);
  f->r13 = reinterpret_cast<uintptr_t>(arg);
  f->ret = graft_first_frame;
  asm volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(f->mxcsr), "=m"(f->x87cw));
  c->sp = f;
}

bool haveFsgsbase() {
  long fd = sys(SYS_openat, AT_FDCWD, os::arg("/proc/self/auxv"), O_RDONLY | O_CLOEXEC);
  if (failed(fd)) return false;
  Elf64_auxv_t aux[40];
  long n = sys(SYS_read, fd, os::arg(aux), sizeof aux);
  sys(SYS_close, fd);
  if (n < 0) n = 0;
  for (size_t i = 0; i < static_cast<size_t>(n) / sizeof aux[0]; i++) {
    if (aux[i].a_type == AT_HWCAP2) return (aux[i].a_un.a_val & 2) != 0;
  }
  return false;
}

}  // namespace graft::os
