// Affinity by sched_getaffinity, quota by walking from the process's cgroup to the root; see cpu.h.
// Files that cannot be read count as "no limit". Source: Go 1.25's cgroup-aware GOMAXPROCS.
#include "core/os/cpu.h"

#include <fcntl.h>

#include "core/os/sys.h"

namespace graft::os {
namespace {

constexpr size_t kPathMax = 1024;

bool readFile(const char* path, char* out, size_t room) {
  long fd = sys(SYS_openat, AT_FDCWD, os::arg(path), O_RDONLY | O_CLOEXEC);
  if (failed(fd)) return false;
  long n = sys(SYS_read, fd, os::arg(out), static_cast<long>(room - 1));
  sys(SYS_close, fd);
  if (n < 0) return false;
  out[n] = 0;
  return true;
}

const char* number(const char* s, uint64_t& n) {
  n = 0;
  while (*s >= '0' && *s <= '9') n = n * 10 + static_cast<uint64_t>(*s++ - '0');
  return s;
}

size_t append(char* out, size_t at, const char* s, size_t n) {
  for (size_t i = 0; i < n && at + 1 < kPathMax; i++) out[at++] = s[i];
  out[at] = 0;
  return at;
}
size_t append(char* out, size_t at, const char* s) {
  size_t n = 0;
  while (s[n] != 0) n++;
  return append(out, at, s, n);
}

// A line of /proc/self/cgroup is "id:controllers:path"; the path of the v2 entry (no controllers)
// or of v1's cpu controller.
bool cgroupPath(const char* text, bool v2, const char*& path, size_t& n) {
  for (const char* line = text; *line != 0;) {
    const char* end = line;
    while (*end != 0 && *end != '\n') end++;
    const char* names = line;
    while (names < end && *names != ':') names++;
    const char* after = names + 1;
    while (after < end && *after != ':') after++;
    bool match = v2 && after == names + 1;
    for (const char* c = names + 1; !v2 && c + 3 <= after; c++) {
      bool starts = c[-1] == ':' || c[-1] == ',';
      if (starts && c[0] == 'c' && c[1] == 'p' && c[2] == 'u' && (c[3] == ',' || c[3] == ':')) {
        match = true;
      }
    }
    if (match && after < end) {
      path = after + 1;
      n = static_cast<size_t>(end - path);
      return true;
    }
    line = *end == 0 ? end : end + 1;
  }
  return false;
}

uint64_t least(uint64_t a, uint64_t b) { return a == 0 || (b != 0 && b < a) ? b : a; }

uint64_t quotaV2(const char* path, size_t n) {
  uint64_t quota = 0;
  char file[kPathMax], text[128];
  for (;;) {
    size_t at = append(file, 0, "/sys/fs/cgroup");
    at = append(file, at, path, n);
    append(file, at, "/cpu.max");
    if (readFile(file, text, sizeof text)) quota = least(quota, parseCpuMax(text));
    while (n > 0 && path[n - 1] != '/') n--;
    if (n == 0) return quota;
    n--;
  }
}

uint64_t quotaV1(const char* path, size_t n) {
  char file[kPathMax], text[64];
  uint64_t quota, period;
  size_t at = append(file, 0, "/sys/fs/cgroup/cpu");
  at = append(file, at, path, n == 1 ? 0 : n);
  append(file, at, "/cpu.cfs_quota_us");
  if (!readFile(file, text, sizeof text) || text[0] == '-') return 0;
  number(text, quota);
  append(file, at, "/cpu.cfs_period_us");
  if (!readFile(file, text, sizeof text)) return 0;
  number(text, period);
  return period == 0 ? 0 : quota * 1000 / period;
}

}  // namespace

uint64_t parseCpuMax(const char* text) {
  uint64_t quota, period;
  const char* after = number(text, quota);
  if (after == text || *after != ' ') return 0;
  number(after + 1, period);
  return period == 0 ? 0 : quota * 1000 / period;
}

uint32_t affinityCpus() {
  uint64_t mask[128] = {};
  long n = sys(SYS_sched_getaffinity, 0, sizeof mask, os::arg(mask));
  if (n <= 0) return 1;
  uint32_t cpus = 0;
  for (size_t i = 0; i < static_cast<size_t>(n) / 8; i++) {
    for (uint64_t m = mask[i]; m != 0; m &= m - 1) cpus++;
  }
  return cpus == 0 ? 1 : cpus;
}

uint64_t quotaMilliCpus() {
  char text[2048];
  if (!readFile("/proc/self/cgroup", text, sizeof text)) return 0;
  const char* path;
  size_t n;
  uint64_t quota = 0;
  if (cgroupPath(text, true, path, n)) quota = quotaV2(path, n);
  if (cgroupPath(text, false, path, n)) quota = least(quota, quotaV1(path, n));
  return quota;
}

uint32_t usableCpus() {
  uint32_t cpus = affinityCpus();
  uint64_t quota = quotaMilliCpus();
  if (quota == 0) return cpus;
  uint64_t by_quota = (quota + 999) / 1000;
  return by_quota < cpus ? static_cast<uint32_t>(by_quota) : cpus;
}

}  // namespace graft::os
