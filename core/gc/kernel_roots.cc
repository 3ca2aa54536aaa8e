// Walks /proc/self/fd for epoll descriptors and reads /proc/self/timers; see kernel_roots.h. A
// descriptor that cannot be looked at is one that the kernel would not let us close either: said.
#include "core/gc/kernel_roots.h"

#include <fcntl.h>

#include "core/base/bits.h"
#include "core/base/format.h"
#include "core/os/sys.h"

namespace graft::gc {
namespace {

// The 16-digit number behind `name`, wherever it stands in the text.
void eachNumberAfter(const char* name, char behind, const char* text, size_t n,
                     void (*found)(void* arg, uint64_t word), void* arg) {
  size_t length = base::stringLength(name);
  for (size_t i = 0; i + length <= n; i++) {
    if (__builtin_memcmp(text + i, name, length) != 0) continue;
    i += length;
    if (behind != '\0') {  // a field in between, closed by `behind`
      while (i < n && text[i] != behind && text[i] != '\n') i++;
      if (i == n || text[i] != behind) continue;
      i++;
    }
    while (i < n && text[i] == ' ') i++;
    uint64_t word = 0;
    size_t digits = 0;
    for (; i < n; i++, digits++) {
      unsigned c = static_cast<unsigned char>(text[i]);
      unsigned digit = c - '0' < 10 ? c - '0' : c - 'a' < 6 ? c - 'a' + 10 : 16;
      if (digit == 16) break;
      word = word << 4 | digit;
    }
    if (digits != 0) found(arg, word);
    if (i == n) break;
  }
}

// Whole lines of a file of any length, a buffer at a time.
template <class F>
bool readLines(const char* path, char* text, size_t size, F parse) {
  long fd = os::sys(SYS_openat, AT_FDCWD, os::arg(path), O_RDONLY | O_CLOEXEC);
  if (os::failed(fd)) return false;
  size_t have = 0;
  for (;;) {
    long n = os::sys(SYS_read, fd, os::arg(text + have), static_cast<long>(size - have));
    if (os::failed(n)) break;
    have += static_cast<size_t>(n);
    size_t whole = have;
    while (n != 0 && whole != 0 && text[whole - 1] != '\n') whole--;
    parse(text, whole);
    for (size_t i = whole; i < have; i++) text[i - whole] = text[i];
    have -= whole;
    if (n == 0 || have == size) break;
  }
  os::sys(SYS_close, fd);
  return true;
}

bool isEpoll(const char* name) {
  constexpr char kEpoll[] = "anon_inode:[eventpoll]";
  base::Line path;
  path.str("/proc/self/fd/").str(name);
  char to[sizeof kEpoll];
  long n = os::sys(SYS_readlinkat, AT_FDCWD, os::arg(path.c_str()), os::arg(to), sizeof to);
  return n == sizeof kEpoll - 1 && __builtin_memcmp(to, kEpoll, sizeof kEpoll - 1) == 0;
}

}  // namespace

void parseEpoll(const char* text, size_t n, void (*found)(void*, uint64_t), void* arg) {
  eachNumberAfter(" data:", '\0', text, n, found, arg);
}

void parseTimers(const char* text, size_t n, void (*found)(void*, uint64_t), void* arg) {
  eachNumberAfter("signal: ", '/', text, n, found, arg);
}

const char* KernelRoots::read() const {
  // A kernel without that file has no way to tell: timers are then not covered, as README says.
  readLines("/proc/self/timers", text, text_size,
            [this](const char* t, size_t n) { parseTimers(t, n, found, arg); });
  long dir =
      os::sys(SYS_openat, AT_FDCWD, os::arg("/proc/self/fd"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (os::failed(dir)) return "the descriptors cannot be listed";
  alignas(8) char list[2048];
  const char* why = nullptr;
  for (long n; (n = os::sys(SYS_getdents64, dir, os::arg(list), sizeof list)) > 0;) {
    for (long at = 0; at < n;) {
      auto* e = reinterpret_cast<os::DirEntry*>(list + at);
      at += e->bytes;
      if (!isEpoll(e->name)) continue;
      base::Line path;
      path.str("/proc/self/fdinfo/").str(e->name);
      bool told = readLines(path.c_str(), text, text_size,
                            [this](const char* t, size_t k) { parseEpoll(t, k, found, arg); });
      if (!told) why = "an epoll descriptor cannot be looked at";
    }
  }
  os::sys(SYS_close, dir);
  return why;
}

}  // namespace graft::gc
