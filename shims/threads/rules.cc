// The list of rules.def against this process: the executable's name, and libraries that are loaded
// by the time the first thread is created.
#include "shims/threads/rules.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

namespace graft::shims {
namespace {

struct Rule {
  const char* executable;  // "" for any
  const char* library;  // "" for any
  const char* why;
};
constexpr Rule kRules[] = {
#define RULE(executable, library, why) {executable, library, why},
#include "core/base/thread_rules.def"
#undef RULE
};

bool loaded(const char* library) {
  void* handle = dlopen(library, RTLD_LAZY | RTLD_NOLOAD);
  if (handle != nullptr) dlclose(handle);
  return handle != nullptr;
}

}  // namespace

const char* ruleAgainst() {
  for (const Rule& r : kRules) {
    if (r.executable[0] != '\0' && strcmp(r.executable, program_invocation_short_name) != 0)
      continue;
    if (r.library[0] != '\0' && !loaded(r.library)) continue;
    return r.why;
  }
  return nullptr;
}

}  // namespace graft::shims
