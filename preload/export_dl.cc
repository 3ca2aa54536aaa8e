// The exported dlopen and dlmopen: mask one flag, then jump. A jump, not a call: the loader takes
// the caller's address from the stack to find its RUNPATH and namespace, which must stay the
// caller's own. Any thread; nothing is touched but the flags argument.
#include <dlfcn.h>

#include "core/base/options.h"
#include "preload/dl.h"

extern "C" {
[[gnu::visibility("hidden")]] void* graft_real_dlopen = nullptr;
[[gnu::visibility("hidden")]] void* graft_real_dlmopen = nullptr;
[[gnu::visibility("hidden")]] int graft_dl_mask = ~RTLD_DEEPBIND;
[[gnu::visibility("hidden")]] void graft_resolve_dl();

void graft_resolve_dl() {
  graft_real_dlmopen = dlsym(RTLD_NEXT, "dlmopen");
  graft_real_dlopen = dlsym(RTLD_NEXT, "dlopen");
}
}

// A library's constructor may call dlopen before ours has run: then the slow branch resolves, with
// the three argument registers saved and the stack kept aligned.
asm(R"(
.macro graft_dl_export name, mode, real
.text
.globl \name
.type \name, @function
\name:
  .cfi_startproc
  andl graft_dl_mask(%rip), \mode
  movq \real(%rip), %rax
  testq %rax, %rax
  je 1f
  jmp *%rax
1:
  pushq %rdi
  .cfi_adjust_cfa_offset 8
  pushq %rsi
  .cfi_adjust_cfa_offset 8
  pushq %rdx
  .cfi_adjust_cfa_offset 8
  call graft_resolve_dl
  popq %rdx
  .cfi_adjust_cfa_offset -8
  popq %rsi
  .cfi_adjust_cfa_offset -8
  popq %rdi
  .cfi_adjust_cfa_offset -8
  jmp *\real(%rip)
  .cfi_endproc
.size \name, .-\name
.endm
graft_dl_export dlopen, %esi, graft_real_dlopen
graft_dl_export dlmopen, %edx, graft_real_dlmopen
)");

namespace graft::preload {

void initDl() {
  if (base::options.deepbind) graft_dl_mask = ~0;
}

}  // namespace graft::preload
