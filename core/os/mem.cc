// Thin, checked wrappers over mmap, mprotect, madvise and mremap; see mem.h for the contract.
#include "core/os/mem.h"

#include <sys/mman.h>

#include "core/base/atomic.h"
#include "core/os/sys.h"

namespace graft::os {
namespace {

constinit base::Atomic<uint64_t> fault_every{0};
constinit base::Atomic<uint64_t> fault_count{0};

bool injectFault() {
  uint64_t n = fault_every.loadRelaxed();
  return __builtin_expect(n != 0, 0) && (fault_count.fetchAddRelaxed(1) + 1) % n == 0;
}

long addr(Addr a) { return static_cast<long>(a); }
long len(size_t n) { return static_cast<long>(n); }

}  // namespace

void setFaultInjection(uint64_t every_n) {
  fault_every.storeRelaxed(every_n);
  fault_count.storeRelaxed(0);
}

Addr reserve(size_t bytes, Addr hint) {
  if (injectFault()) return 0;
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (hint != 0 ? MAP_FIXED_NOREPLACE : 0);
  long got = sys(SYS_mmap, addr(hint), len(bytes), PROT_NONE, flags, -1, 0);
  if (failed(got)) return 0;
  // Debuggers that write a core file of a live process would write all of it.
  sys(SYS_madvise, got, len(bytes), MADV_DONTDUMP);
  if (hint != 0 && got != addr(hint)) {  // a kernel before 4.17 takes the flag for a plain hint
    sys(SYS_munmap, got, len(bytes));
    return 0;
  }
  return static_cast<Addr>(got);
}

bool commit(Addr at, size_t bytes) {
  if (injectFault()) return false;
  if (failed(sys(SYS_mprotect, addr(at), len(bytes), PROT_READ | PROT_WRITE))) return false;
  sys(SYS_madvise, addr(at), len(bytes), MADV_DODUMP);
  return true;
}

bool mapFresh(Addr at, size_t bytes) {
  if (injectFault()) return false;
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
  long got = sys(SYS_mmap, addr(at), len(bytes), PROT_READ | PROT_WRITE, flags, -1, 0);
  if (failed(got)) return false;
  if (got == addr(at)) return true;
  sys(SYS_munmap, got, len(bytes));
  return false;
}

bool remapZero(Addr at, size_t bytes) {
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
  return sys(SYS_mmap, addr(at), len(bytes), PROT_READ | PROT_WRITE, flags, -1, 0) == addr(at);
}

bool purge(Addr at, size_t bytes) {
  return !failed(sys(SYS_madvise, addr(at), len(bytes), MADV_DONTNEED));
}

bool movePages(Addr from, Addr to, size_t bytes) {
  if (injectFault()) return false;
  int flags = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
  return sys(SYS_mremap, addr(from), len(bytes), len(bytes), flags, addr(to)) == addr(to);
}

bool noHugePages(Addr at, size_t bytes) {
  return !failed(sys(SYS_madvise, addr(at), len(bytes), MADV_NOHUGEPAGE));
}

void release(Addr at, size_t bytes) { sys(SYS_munmap, addr(at), len(bytes)); }

bool installGuard(Addr at, size_t bytes) {
  constexpr int kGuardInstall = 102;  // MADV_GUARD_INSTALL, newer than the oldest headers
  return !failed(sys(SYS_madvise, addr(at), len(bytes), kGuardInstall));
}

bool removeGuard(Addr at, size_t bytes) {
  constexpr int kGuardRemove = 103;
  return !failed(sys(SYS_madvise, addr(at), len(bytes), kGuardRemove));
}

bool protect(Addr at, size_t bytes) {
  return !failed(sys(SYS_mprotect, addr(at), len(bytes), PROT_NONE));
}

}  // namespace graft::os
