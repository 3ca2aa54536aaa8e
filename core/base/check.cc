// Prints a failed internal check and ends the process; runs on any stack, takes no lock,
// allocates nothing and calls nothing but the two hooks.
#include "core/base/check.h"

#include "core/base/format.h"

namespace graft::base {

constinit FailHooks fail_hooks{};

void fail(const char* what, const char* file, int line) {
  Line out;
  out.str("graft: internal check failed: ").str(what).str(" at ").str(file).chr(':').dec(line).nl();
  if (fail_hooks.write != nullptr) fail_hooks.write(out.data(), out.size());
  if (fail_hooks.die != nullptr) fail_hooks.die();
  __builtin_trap();
}

}  // namespace graft::base
