// The switch between a home, where a kernel thread decides what it runs next, and what it runs:
// callee-saved registers are saved on the stack that is left, the stack pointer in its Context; FS
// follows where the target has a base of its own. The floating point control words are saved with
// what runs only: at home nothing is computed, so a home keeps those of whoever left last, and
// notes them. A Context belongs to whoever may resume it next; nobody else touches it.
//
// May be called on any stack outside signal handlers. No locks. Unwinders see through both
// functions on both sides, and stop at the first frame of a made context.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace graft::os {

struct Context {
  void* sp;
  uintptr_t fs;  // 0: leave FS alone
};

struct Home {
  Context at;
  uint32_t mxcsr;  // what the processor has while the home runs
  uint16_t x87cw;
};
static_assert(sizeof(Context) == 16 && offsetof(Home, mxcsr) == 16 && offsetof(Home, x87cw) == 20);

// Saves the caller in *from (its fs field is not touched) and goes on at home; returns when
// somebody resumes *from. An fs other than 0 needs FSGSBASE.
extern "C" [[gnu::visibility("hidden")]] void graft_leave(Context* from, Home* home);

// At home: resumes *to; returns when what runs then leaves. beginHome(home) was called before.
extern "C" [[gnu::visibility("hidden")]] void graft_resume(Home* home, const Context* to);

// On the kernel thread whose home it is, before its first graft_resume.
inline void beginHome(Home* home) {
  asm volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(home->mxcsr), "=m"(home->x87cw));
}

// The first switch to *c calls entry(arg) at the top of the given stack, with the floating point
// control words of the caller of makeContext; entry must not return. c->fs is left alone.
void makeContext(Context* c, void* stack_low, size_t stack_size, void (*entry)(void*), void* arg);

// Whether the kernel lets user code write FS (AT_HWCAP2).
bool haveFsgsbase();

}  // namespace graft::os
