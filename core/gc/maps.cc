// The reader and the parser of maps.h; the format is that of proc(5): range, permissions, offset,
// device, inode, name.
#include "core/gc/maps.h"

#include <fcntl.h>

#include "core/base/bits.h"
#include "core/base/hiders.h"
#include "core/os/sys.h"

namespace graft::gc {
namespace {

bool readHex(const char*& p, const char* end, uint64_t& out) {
  const char* begin = p;
  uint64_t v = 0;
  for (; p < end; p++) {
    unsigned c = static_cast<unsigned char>(*p);
    unsigned digit = c - '0' < 10 ? c - '0' : (c | 32) - 'a' < 6 ? (c | 32) - 'a' + 10 : 16;
    if (digit == 16) break;
    v = v << 4 | digit;
  }
  out = v;
  return p != begin && p - begin <= 16;
}

bool take(const char*& p, const char* end, char c) {
  if (p == end || *p != c) return false;
  p++;
  return true;
}

void skipField(const char*& p, const char* end) {
  while (p < end && *p != ' ') p++;
  while (p < end && *p == ' ') p++;
}

bool starts(const char* p, const char* end, const char* with) {
  while (*with != '\0') {
    if (p == end || *p++ != *with++) return false;
  }
  return true;
}

MapKind kindOf(const char* name, const char* end, bool shared) {
  if (name == end) return shared ? MapKind::kMemory : MapKind::kAnon;
  if (*name == '[') {
    if (starts(name, end, "[stack]")) return MapKind::kStack;
    if (starts(name, end, "[v")) return MapKind::kKernel;
    return MapKind::kAnon;  // [heap], [anon:...]
  }
  constexpr const char* kMemory[] = {"/dev/zero", "/dev/shm/", "/memfd:", "/SYSV"};
  for (const char* memory : kMemory) {
    if (starts(name, end, memory)) return MapKind::kMemory;
  }
  if (starts(name, end, "/dev/")) return MapKind::kDevice;
  // anon_inode:[io_uring] and its like: rings that the kernel and the program share.
  return *name == '/' ? MapKind::kFile : MapKind::kMemory;
}

// What the last part of the name says.
const char* hidesBy(const char* name, const char* end) {
  constexpr const char* kGone = " (deleted)";
  const size_t gone = base::stringLength(kGone);
  if (static_cast<size_t>(end - name) > gone && starts(end - gone, end, kGone)) end -= gone;
  const char* last = end;
  while (last > name && last[-1] != '/') last--;
  for (const base::Hider& h : base::kHiders) {
    if (!starts(last, end, h.name)) continue;
    if (!h.whole || static_cast<size_t>(end - last) == base::stringLength(h.name)) return h.why;
  }
  return nullptr;
}

}  // namespace

bool parseMapping(const char* line, size_t n, Mapping& out) {
  const char *p = line, *end = line + n;
  if (!readHex(p, end, out.from) || !take(p, end, '-') || !readHex(p, end, out.to) ||
      !take(p, end, ' ') || end - p < 5 || out.from >= out.to) {
    return false;
  }
  out.read = p[0] == 'r';
  out.write = p[1] == 'w';
  out.shared = p[3] == 's';
  for (int field = 0; field < 4; field++) skipField(p, end);  // permissions, offset, device, inode
  out.kind = kindOf(p, end, out.shared);
  out.hides = p == end ? nullptr : hidesBy(p, end);
  return true;
}

MapsReader::~MapsReader() {
  if (fd_ >= 0) os::sys(SYS_close, fd_);
}

bool MapsReader::open() {
  fd_ = os::sys(SYS_openat, AT_FDCWD, os::arg("/proc/self/maps"), O_RDONLY | O_CLOEXEC);
  failed_ = os::failed(fd_);
  return !failed_;
}

// Moves what is left of a line to the front and reads behind it.
bool MapsReader::refill() {
  for (size_t i = at_; i < have_; i++) buffer_[i - at_] = buffer_[i];
  have_ -= at_;
  at_ = 0;
  if (have_ == size_) return false;  // a line as long as the buffer: no such line exists
  long n = os::sys(SYS_read, fd_, os::arg(buffer_ + have_), static_cast<long>(size_ - have_));
  if (os::failed(n)) return false;
  end_ = n == 0;
  have_ += static_cast<size_t>(n);
  return true;
}

bool MapsReader::next(Mapping& out) {
  while (!failed_) {
    for (size_t i = at_; i < have_; i++) {
      if (buffer_[i] != '\n') continue;
      const char* line = buffer_ + at_;
      size_t n = i - at_;
      at_ = i + 1;
      failed_ = !parseMapping(line, n, out);
      return !failed_;
    }
    if (end_) {
      failed_ = at_ != have_;
      return false;
    }
    failed_ = !refill();
  }
  return false;
}

}  // namespace graft::gc
