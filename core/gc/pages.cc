// See pages.h. A full answer of PAGEMAP_SCAN may have stopped anywhere behind its last region, and
// walk_end is then not to be trusted (GC.md, headline 6): the walk goes on behind that region.
#include "core/gc/pages.h"

#include <fcntl.h>

#include "core/os/sys.h"

namespace graft::gc {
namespace {

// Linux 6.7's interface; older headers do not have it.
struct ScanArg {
  uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
  uint64_t inverted, mask, anyof, returned;
};
struct ScanRegion {
  uint64_t start, end, categories;
};
constexpr unsigned long kPagemapScan = 0xc0606610;  // _IOWR('f', 16, ScanArg)
static_assert(sizeof(ScanArg) == 96);
constexpr uint64_t kIsFile = 1 << 2, kIsPresent = 1 << 3, kIsSwapped = 1 << 4;

// Bits of a word of /proc/self/pagemap.
constexpr uint64_t kWordFile = uint64_t{1} << 61, kWordSwapped = uint64_t{1} << 62,
                   kWordPresent = uint64_t{1} << 63;

}  // namespace

bool PageMap::open(bool deny_scan) {
  fd_ = os::sys(SYS_openat, AT_FDCWD, os::arg("/proc/self/pagemap"), O_RDONLY | O_CLOEXEC);
  open_ = !os::failed(fd_);
  if (!open_) return false;
  scan_ = !deny_scan;
  PageRun runs[kRuns];
  Addr here = roundDown(reinterpret_cast<Addr>(&runs), kOsPage);
  if (scan_ && nextByScan(here, here + kOsPage, runs) < 0) scan_ = false;
  return true;
}

void PageMap::close() {
  if (open_) os::sys(SYS_close, fd_);
  open_ = false;
}

long PageMap::next(Addr& from, Addr to, PageRun* runs) const {
  return scan_ ? nextByScan(from, to, runs) : nextByRead(from, to, runs);
}

long PageMap::nextByScan(Addr& from, Addr to, PageRun* runs) const {
  ScanRegion regions[kRuns];
  ScanArg a{};
  a.size = sizeof a;
  a.start = from;
  a.end = to;
  a.vec = reinterpret_cast<uint64_t>(regions);
  a.vec_len = kRuns;
  a.anyof = kIsPresent | kIsSwapped;
  a.returned = kIsFile | kIsPresent | kIsSwapped;
  long n = os::sys(SYS_ioctl, fd_, static_cast<long>(kPagemapScan), os::arg(&a));
  if (os::failed(n)) return n;
  for (long i = 0; i < n; i++) {
    uint64_t c = regions[i].categories;
    runs[i] = {regions[i].start, regions[i].end, (c & kIsPresent) != 0, (c & kIsFile) != 0};
  }
  from = n == static_cast<long>(kRuns) ? runs[n - 1].to : to;
  return n;
}

long PageMap::nextByRead(Addr& from, Addr to, PageRun* runs) const {
  constexpr size_t kWords = 512;
  uint64_t words[kWords];
  size_t pages = (to - from) / kOsPage;
  if (pages > kWords) pages = kWords;
  long got = os::sys(SYS_pread64, fd_, os::arg(words), static_cast<long>(pages * 8),
                     static_cast<long>(from / kOsPage * 8));
  if (os::failed(got) || got < 8) return -1;
  pages = static_cast<size_t>(got) / 8;
  long n = 0;
  size_t i = 0;
  for (; i < pages; i++) {
    uint64_t w = words[i];
    if ((w & (kWordPresent | kWordSwapped)) == 0) continue;
    bool present = (w & kWordPresent) != 0, file = (w & kWordFile) != 0;
    Addr at = from + i * kOsPage;
    PageRun* last = n != 0 ? &runs[n - 1] : nullptr;
    if (last != nullptr && last->to == at && last->present == present && last->file == file) {
      last->to += kOsPage;
      continue;
    }
    if (n == static_cast<long>(kRuns)) break;
    runs[n++] = {at, at + kOsPage, present, file};
  }
  from += i * kOsPage;
  return n;
}

}  // namespace graft::gc
