// The probes behind `graft doctor` (probe.h). Constants that are newer than the oldest supported
// kernel headers are spelled out here, each with the kernel that brought it.
#include "tools/probe.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/userfaultfd.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace graft::tools {
namespace {

using Answer = ProbeResult::Answer;

constexpr size_t kPage = 4096;
constexpr int kMadvGuardInstall = 102;                // Linux 6.13
constexpr uint64_t kFeatureWpAsync = uint64_t{1} << 15;  // Linux 6.7
constexpr int kUserModeOnly = 1;                      // Linux 5.11
constexpr unsigned long kHwcap2Fsgsbase = 1ul << 1;   // Linux 5.9

// struct pm_scan_arg of linux/fs.h, Linux 6.7.
struct PagemapScan {
  uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
  uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
constexpr unsigned long kPagemapScan = _IOWR('f', 16, PagemapScan);

// A private anonymous mapping for the length of one probe.
class Mapping {
 public:
  Mapping(size_t size, int protection)
      : size_(size),
        at_(mmap(nullptr, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {}
  ~Mapping() {
    if (ok()) munmap(at_, size_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  bool ok() const { return at_ != MAP_FAILED; }
  char* at() const { return static_cast<char*>(at_); }

 private:
  size_t size_;
  void* at_;
};

ProbeResult yes() { return {Answer::kYes, ""}; }
ProbeResult no(const char* what) {
  return {Answer::kNo, fmt::format("{}: {}", what, std::strerror(errno))};
}

ProbeResult probeReserve(int64_t gib) {
  Mapping all(static_cast<size_t>(gib) << 30, PROT_NONE);
  if (all.ok()) return yes();
  return no(fmt::format("reserving {} GiB of address space", gib).c_str());
}

ProbeResult probeMremap() {
  Mapping from(kPage, PROT_READ | PROT_WRITE);
  Mapping to(2 * kPage, PROT_NONE);
  if (!from.ok() || !to.ok()) return no("mmap");
  from.at()[0] = 'x';
  void* moved = mremap(from.at(), kPage, 2 * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, to.at());
  if (moved == MAP_FAILED) return no("mremap");
  return to.at()[0] == 'x' ? yes() : ProbeResult{Answer::kNo, "mremap lost the contents"};
}

ProbeResult probeAdvice(int advice, const char* name) {
  Mapping m(2 * kPage, PROT_READ | PROT_WRITE);
  if (!m.ok()) return no("mmap");
  return madvise(m.at(), 2 * kPage, advice) == 0 ? yes() : no(name);
}

ProbeResult probePurge() {
  Mapping m(kPage, PROT_READ | PROT_WRITE);
  if (!m.ok()) return no("mmap");
  m.at()[0] = 'x';
  if (madvise(m.at(), kPage, MADV_DONTNEED) != 0) return no("MADV_DONTNEED");
  volatile char* seen = m.at();
  return *seen == 0 ? yes() : ProbeResult{Answer::kNo, "MADV_DONTNEED keeps the contents"};
}

ProbeResult probeWpAsync() {
  int fd = static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | kUserModeOnly));
  if (fd < 0) return no("userfaultfd");
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = kFeatureWpAsync;
  int result = ioctl(fd, UFFDIO_API, &api);
  ProbeResult answer = result == 0 ? yes() : no("UFFD_FEATURE_WP_ASYNC (Linux 6.7)");
  close(fd);
  return answer;
}

ProbeResult probePagemapScan() {
  int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return no("/proc/self/pagemap");
  Mapping m(kPage, PROT_READ | PROT_WRITE);
  PagemapScan arg{};
  arg.size = sizeof arg;
  arg.start = reinterpret_cast<uint64_t>(m.at());
  arg.end = arg.start + kPage;
  int result = m.ok() ? ioctl(fd, kPagemapScan, &arg) : -1;
  ProbeResult answer = result >= 0 ? yes() : no("PAGEMAP_SCAN (Linux 6.7)");
  close(fd);
  return answer;
}

ProbeResult probeFsgsbase() {
  if ((getauxval(AT_HWCAP2) & kHwcap2Fsgsbase) != 0) return yes();
  return {Answer::kNo, "the CPU or the kernel does not offer it (Linux 5.9)"};
}

}  // namespace

ProbeResult probe(base::Capability capability, int64_t reserve_gib) {
  switch (capability) {
    case base::Capability::reserve: return probeReserve(reserve_gib);
    case base::Capability::mremap: return probeMremap();
    case base::Capability::nohugepage: return probeAdvice(MADV_NOHUGEPAGE, "MADV_NOHUGEPAGE");
    case base::Capability::purge: return probePurge();
    case base::Capability::wp_async: return probeWpAsync();
    case base::Capability::pagemap_scan: return probePagemapScan();
    case base::Capability::guard_install:
      return probeAdvice(kMadvGuardInstall, "MADV_GUARD_INSTALL (Linux 6.13)");
    case base::Capability::fsgsbase: return probeFsgsbase();
    case base::Capability::calibration:
      return {Answer::kUnknown, "only the library itself can tell"};
  }
  return {Answer::kUnknown, "no probe"};
}

}  // namespace graft::tools
