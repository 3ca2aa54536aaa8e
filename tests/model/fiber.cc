// The stack switch of the interleaving checker and its announcements to the sanitizers; fiber.h
// says who uses it. The switch saves what the System V ABI for x86-64 lets a callee keep.
#include "tests/model/fiber.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#define MODEL_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MODEL_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define MODEL_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MODEL_TSAN 1
#endif
#endif

#ifdef MODEL_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef MODEL_TSAN
#include <sanitizer/tsan_interface.h>
#endif

// void graftModelSwitch(void** save_sp, void* load_sp)
// A new stack holds six zero registers, the address of graftModelEnter, and r12 = the fiber.
asm(R"(
  .text
  .p2align 4
  .type graftModelSwitch, @function
graftModelSwitch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size graftModelSwitch, . - graftModelSwitch

  .p2align 4
  .type graftModelEnter, @function
graftModelEnter:
  .cfi_startproc
  .cfi_undefined %rip
  movq %r12, %rdi
  callq *%r13
  ud2
  .cfi_endproc
  .size graftModelEnter, . - graftModelEnter
)");
extern "C" {
void graftModelSwitch(void** save_sp, void* load_sp);
void graftModelEnter();
}

namespace graft::model {

void Fiber::adoptCurrent() {
#ifdef MODEL_TSAN
  tsan_fiber_ = __tsan_get_current_fiber();
#endif
}

void Fiber::create(void (*entry)(void*), void* argument) {
  constexpr size_t kStack = size_t{256} << 10, kGuard = 4096;
  void* memory = mmap(nullptr, kStack + kGuard, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, kGuard, PROT_NONE) != 0) {
    perror("stack for a model thread");
    abort();
  }
  bottom_ = static_cast<char*>(memory) + kGuard;
  size_ = kStack;
  entry_ = entry;
  argument_ = argument;
  // Laid out so that graftModelEnter starts on a multiple of 16, as the ABI asks before a call.
  void** top = reinterpret_cast<void**>(static_cast<char*>(bottom_) + size_);
  *--top = nullptr;
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(&graftModelEnter);
  *--top = nullptr;                               // rbp
  *--top = nullptr;                               // rbx
  *--top = this;                                  // r12
  *--top = reinterpret_cast<void*>(&Fiber::enter);  // r13
  *--top = nullptr;                               // r14
  *--top = nullptr;                               // r15
  sp_ = top;
#ifdef MODEL_TSAN
  tsan_fiber_ = __tsan_create_fiber(0);
#endif
}

void Fiber::enter(Fiber* self) {
#ifdef MODEL_ASAN
  const void* bottom;
  size_t size;
  __sanitizer_finish_switch_fiber(nullptr, &bottom, &size);
  // A fiber is first entered from the stack that adoptCurrent() stood on.
  if (self->creator_->bottom_ == nullptr) {
    self->creator_->bottom_ = const_cast<void*>(bottom);
    self->creator_->size_ = size;
  }
#endif
  self->entry_(self->argument_);
}

void Fiber::switchTo(Fiber& to) {
  to.creator_ = this;
#ifdef MODEL_ASAN
  __sanitizer_start_switch_fiber(&asan_stack_, to.bottom_, to.size_);
#endif
#ifdef MODEL_TSAN
  __tsan_switch_to_fiber(to.tsan_fiber_, 0);
#endif
  graftModelSwitch(&sp_, to.sp_);
#ifdef MODEL_ASAN
  __sanitizer_finish_switch_fiber(asan_stack_, nullptr, nullptr);
#endif
}

}  // namespace graft::model
