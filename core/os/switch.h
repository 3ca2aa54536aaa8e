// The switch between stacks: callee-saved registers and the floating point control words are saved
// on the stack that is left, the stack pointer in its Context; FS follows where the target has a
// base of its own. A Context belongs to whoever may resume it next; nobody else touches it.
//
// May be called on any stack outside signal handlers. No locks. Unwinders see through graft_switch
// on both sides, and stop at the first frame of a made context.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace graft::os {

struct Context {
  void* sp;
  uintptr_t fs;  // 0: leave FS alone
};

// Saves the caller in *from (its fs field is not touched) and resumes *to; returns when somebody
// switches back. A to->fs other than 0 needs FSGSBASE.
extern "C" [[gnu::visibility("hidden")]] void graft_switch(Context* from, const Context* to);

// The first switch to *c calls entry(arg) at the top of the given stack, with the floating point
// control words of the caller of makeContext; entry must not return. c->fs is left alone.
void makeContext(Context* c, void* stack_low, size_t stack_size, void (*entry)(void*), void* arg);

// Whether the kernel lets user code write FS (AT_HWCAP2).
bool haveFsgsbase();

}  // namespace graft::os
