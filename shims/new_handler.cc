// operator new when memory is short: std::get_new_handler and the throwing of bad_alloc belong to
// whichever C++ library the program has loaded (libstdc++ or libc++); they are looked up only then,
// so libgraft.so itself depends on none. The program's thread, on its own stack.
#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>

#include "core/base/format.h"
#include "core/os/message.h"
#include "shims/malloc.h"

namespace graft::shims {
namespace {

using Handler = void (*)();

[[noreturn]] void throwBadAlloc() {
  if (void* f = dlsym(RTLD_DEFAULT, "_ZSt17__throw_bad_allocv")) reinterpret_cast<void (*)()>(f)();
  // libc++ has no such export: let its own operator new fail.
  if (void* f = dlsym(RTLD_NEXT, "_Znwm")) reinterpret_cast<void* (*)(size_t)>(f)(SIZE_MAX);
  base::Line line;
  os::say(line.str("graft: operator new: out of memory, and no C++ library to throw bad_alloc\n"));
  os::die();
}

}  // namespace

void* newSlow(size_t size, size_t align, bool nothrow) {
  const void* caller = __builtin_return_address(0);
  for (;;) {
    void* p = alignedFor(align, size, caller);
    if (p != nullptr) return p;
    void* f = dlsym(RTLD_DEFAULT, "_ZSt15get_new_handlerv");
    Handler handler = f != nullptr ? reinterpret_cast<Handler (*)()>(f)() : nullptr;
    if (handler == nullptr) break;
    handler();  // frees something, throws, or ends the program; may throw through this frame
  }
  if (nothrow) return nullptr;
  throwBadAlloc();
}

}  // namespace graft::shims
