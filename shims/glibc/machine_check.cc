// The checks of machine_check.h by themselves: the auxiliary vector, the no-op that valgrind
// answers, and the status of shadow stacks from arch_prctl.
#include "shims/glibc/machine_check.h"

#include <sys/auxv.h>

#include "core/base/capability.h"
#include "core/os/sys.h"

namespace graft::glibc {
namespace {

constexpr unsigned long kHwcap2Fsgsbase = 1ul << 1;  // Linux 5.9

// The instruction sequence that valgrind replaces by a request and a processor by nothing; request
// 0x1001 asks how deep in valgrind we are. It is fixed for ever (valgrind.h).
bool underValgrind() {
  uint64_t request[6] = {0x1001, 0, 0, 0, 0, 0};
  uint64_t result = 0;
  asm volatile(
      "rolq $3, %%rdi; rolq $13, %%rdi; rolq $61, %%rdi; rolq $51, %%rdi; xchgq %%rbx, %%rbx"
      : "+d"(result)
      : "a"(request)
      : "cc", "memory", "rdi");
  return result != 0;
}

bool shadowStackActive() {
  constexpr long kShadowStackStatus = 0x5005;  // ARCH_SHSTK_STATUS, Linux 6.6
  uint64_t features = 0;
  long got = os::sys(SYS_arch_prctl, kShadowStackStatus, os::arg(&features));
  return !os::failed(got) && features != 0;
}

}  // namespace

const char* whyNoUserSwitch() {
  // Some valgrinds hide FSGSBASE as well; they are the better reason.
  if (underValgrind()) return "the process runs under valgrind";
  if (base::isDenied(base::Capability::fsgsbase)) return "GRAFT_DENY names fsgsbase";
  if ((getauxval(AT_HWCAP2) & kHwcap2Fsgsbase) == 0) {
    return "the processor or the kernel lacks FSGSBASE";
  }
  if (shadowStackActive()) return "a shadow stack is active";
  return "";
}

}  // namespace graft::glibc
