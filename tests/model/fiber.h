// Stackful coroutines for the interleaving checker: a stack each and a switch of a dozen
// instructions (swapcontext would make two system calls per switch, and a checked scenario makes
// millions of switches). Every switch is announced to AddressSanitizer and ThreadSanitizer.
//
// One operating-system thread only. A fiber is started once and runs its entry for ever; the
// checker gives it a new job by switching to it again, so stacks are made once per process.
#pragma once

#include <stddef.h>

namespace graft::model {

class Fiber {
 public:
  Fiber() = default;
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Makes this object stand for the stack that the caller runs on.
  void adoptCurrent();
  // Makes a stack on which the first switch calls entry(argument); entry must not return.
  void create(void (*entry)(void*), void* argument);
  bool exists() const { return bottom_ != nullptr; }

  // Continues `to`; returns when somebody switches back to this fiber.
  void switchTo(Fiber& to);

 private:
  static void enter(Fiber* self);

  void* sp_ = nullptr;
  void* bottom_ = nullptr;
  size_t size_ = 0;
  void (*entry_)(void*) = nullptr;
  void* argument_ = nullptr;
  [[maybe_unused]] Fiber* creator_ = nullptr;
  [[maybe_unused]] void* asan_stack_ = nullptr;
  [[maybe_unused]] void* tsan_fiber_ = nullptr;
};

}  // namespace graft::model
