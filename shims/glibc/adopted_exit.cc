// Catches pthread_exit on the main thread. libc's start code left a jump buffer for it, in struct
// pthread; a copy of that buffer, with another place to continue at, goes in its stead. The stack
// pointer stays libc's, so the frame below which everything is unwound stays the same.
//
// Saved pointers in a jump buffer are mangled: xor with the word at %fs:0x30, then rotate left by
// 17 (x86-64 glibc 2.4 and newer). That is proven on a buffer of our own before it is used.
#include <pthread.h>
#include <setjmp.h>

#include "core/base/check.h"
#include "core/os/sys.h"
#include "shims/glibc/facts.h"
#include "shims/glibc/tcb.h"
#include "shims/glibc/thread_run.h"

namespace graft::glibc {
namespace {

constexpr size_t kSavedSp = 6, kSavedPc = 7;  // of the eight words of a jump buffer

struct Caught {
  ThreadBlock* block = nullptr;
  void (*ended)(ThreadBlock*) = nullptr;
  __pthread_unwind_buf_t buffer{};
};
constinit Caught caught{};  // one thread per process is adopted: the main thread

uintptr_t pointerGuard() {
  uintptr_t guard;
  asm("movq %%fs:0x30, %0" : "=r"(guard));
  return guard;
}
uintptr_t mangle(uintptr_t p) {
  p ^= pointerGuard();
  return p << 17 | p >> 47;
}
uintptr_t demangle(uintptr_t p) { return (p >> 17 | p << 47) ^ pointerGuard(); }

uintptr_t& saved(__pthread_unwind_buf_t& b, size_t i) {
  return reinterpret_cast<uintptr_t*>(b.__cancel_jmp_buf[0].__cancel_jmp_buf)[i];
}

// A buffer of our own must come out as this function's frame.
[[gnu::noinline]] bool manglingIsKnown() {
  __pthread_unwind_buf_t own;
  if (__sigsetjmp(reinterpret_cast<__jmp_buf_tag*>(own.__cancel_jmp_buf), 0) != 0) return false;
  uintptr_t sp;
  asm("movq %%rsp, %0" : "=r"(sp));
  uintptr_t pc = demangle(saved(own, kSavedPc));
  uintptr_t here = reinterpret_cast<uintptr_t>(&manglingIsKnown);
  return demangle(saved(own, kSavedSp)) == sp && pc > here && pc < here + 256;
}

extern "C" [[gnu::visibility("hidden")]] void graft_adopted_landing();
extern "C" [[gnu::visibility("hidden"), gnu::used]] void graft_adopted_ended() {
  endAdopted(caught.block);
  caught.ended(caught.block);
  __builtin_trap();
}

// Where the changed buffer continues, on libc's frame, whose stack pointer is aligned as a
// caller's.
asm(R"(
.text
.hidden graft_adopted_landing
.globl graft_adopted_landing
.type graft_adopted_landing, @function
graft_adopted_landing:
  .cfi_startproc
  .cfi_undefined rip
  andq $-16, %rsp
  call graft_adopted_ended
  ud2
  .cfi_endproc
.size graft_adopted_landing, .-graft_adopted_landing
)");

}  // namespace

bool catchExit(ThreadBlock* b, void (*ended)(ThreadBlock* block)) {
  uintptr_t tp = os::threadPointer();
  auto* original = reinterpret_cast<__pthread_unwind_buf_t*>(wordAt(tp, facts.cleanup_jmp_buf));
  if (tp != b->fs_base || original == nullptr || !manglingIsKnown()) return false;
  uintptr_t sp = demangle(saved(*original, kSavedSp));
  if (sp % 16 != 0 || sp < reinterpret_cast<uintptr_t>(__builtin_frame_address(0)) ||
      sp >= b->stack_high) {
    return false;
  }
  caught.block = b;
  caught.ended = ended;
  caught.buffer = *original;
  saved(caught.buffer, kSavedPc) = mangle(reinterpret_cast<uintptr_t>(graft_adopted_landing));
  wordAt(tp, facts.cleanup_jmp_buf) = reinterpret_cast<uintptr_t>(&caught.buffer);
  return true;
}

}  // namespace graft::glibc
