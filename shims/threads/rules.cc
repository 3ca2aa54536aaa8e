// The list of thread_rules.h against this process: the executable's name, and libraries that are
// loaded by the time the first thread is created.
#include "shims/threads/rules.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

#include "core/base/thread_rules.h"

namespace graft::shims {
namespace {

bool loaded(const char* library) {
  void* handle = dlopen(library, RTLD_LAZY | RTLD_NOLOAD);
  if (handle != nullptr) dlclose(handle);
  return handle != nullptr;
}

}  // namespace

const char* ruleAgainst() {
  for (const base::ThreadRule& r : base::kThreadRules) {
    if (r.executable[0] != '\0' && strcmp(r.executable, program_invocation_short_name) != 0)
      continue;
    if (r.library[0] != '\0' && !loaded(r.library)) continue;
    return r.why;
  }
  return nullptr;
}

}  // namespace graft::shims
