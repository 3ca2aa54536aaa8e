// Walks /proc/self/fd for epoll descriptors, pipes and local sockets, and reads /proc/self/timers;
// see kernel_roots.h. What waits in a pipe is copied by tee(2), what waits in a socket by MSG_PEEK:
// of a socket of datagrams that is the first one. Only ends that this process can read matter.
#include "core/gc/kernel_roots.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

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

bool isEpoll(long fd) {
  constexpr char kEpoll[] = "anon_inode:[eventpoll]";
  base::Line path;
  path.str("/proc/self/fd/").udec(static_cast<uint64_t>(fd));
  char to[sizeof kEpoll];
  long n = os::sys(SYS_readlinkat, AT_FDCWD, os::arg(path.c_str()), os::arg(to), sizeof to);
  return n == sizeof kEpoll - 1 && __builtin_memcmp(to, kEpoll, sizeof kEpoll - 1) == 0;
}

long bytesWaiting(long fd) {
  int n = 0;
  return os::failed(os::sys(SYS_ioctl, fd, FIONREAD, os::arg(&n))) ? 0 : n;
}

bool isLocal(long fd) {
  int domain = 0;
  socklen_t size = sizeof domain;
  long got = os::sys(SYS_getsockopt, fd, SOL_SOCKET, SO_DOMAIN, os::arg(&domain), os::arg(&size));
  return !os::failed(got) && domain == AF_UNIX;
}

}  // namespace

// A pipe of our own, where the bytes of another are copied to.
class Siphon {
 public:
  Siphon() = default;
  ~Siphon() {
    for (int fd : ends_) {
      if (fd >= 0) os::sys(SYS_close, fd);
    }
  }
  Siphon(const Siphon&) = delete;
  Siphon& operator=(const Siphon&) = delete;

  // Null: `each` has seen the bytes, a piece at a time, or there are none for this process.
  template <class F>
  const char* look(long fd, char* text, size_t size, F each) {
    if (ends_[0] < 0 && os::failed(os::sys(SYS_pipe2, os::arg(ends_), O_CLOEXEC | O_NONBLOCK))) {
      return "no descriptor is left to look into pipes";
    }
    // Bytes lie in slots, however few of them: as many slots here as there.
    long most = os::sys(SYS_fcntl, fd, F_GETPIPE_SZ);
    if (most > os::sys(SYS_fcntl, ends_[0], F_GETPIPE_SZ)) {
      os::sys(SYS_fcntl, ends_[0], F_SETPIPE_SZ, most);
    }
    if (os::sys(SYS_fcntl, ends_[0], F_GETPIPE_SZ) < most)
      return "a pipe is too large to look into";
    if (os::failed(os::sys(SYS_tee, fd, ends_[1], most, kNonblock))) return nullptr;
    for (long n; (n = os::sys(SYS_read, ends_[0], os::arg(text), static_cast<long>(size))) > 0;) {
      each(text, static_cast<size_t>(n));
    }
    return nullptr;
  }

 private:
  static constexpr long kNonblock = 2;  // SPLICE_F_NONBLOCK
  int ends_[2] = {-1, -1};
};

void parseEpoll(const char* text, size_t n, void (*found)(void*, uint64_t), void* arg) {
  eachNumberAfter(" data:", '\0', text, n, found, arg);
}

void parseTimers(const char* text, size_t n, void (*found)(void*, uint64_t), void* arg) {
  eachNumberAfter("signal: ", '/', text, n, found, arg);
}

void ByteRoots::add(const char* bytes, size_t n) {
  for (size_t i = 0; i < n; i++) {
    word_ = word_ >> 8 | uint64_t{static_cast<unsigned char>(bytes[i])} << 56;
    if (have_ < 8) have_++;
    if (have_ == 8) found_(arg_, word_);
  }
}

const char* KernelRoots::readEpoll(long fd) const {
  base::Line path;
  path.str("/proc/self/fdinfo/").udec(static_cast<uint64_t>(fd));
  bool told = readLines(path.c_str(), text, text_size,
                        [this](const char* t, size_t n) { parseEpoll(t, n, found, arg); });
  return told ? nullptr : "an epoll descriptor cannot be looked at";
}

// A program that moves its own place for peeking would be disturbed.
const char* KernelRoots::readSocket(long fd) const {
  int at = -1;
  socklen_t bytes = sizeof at;
  os::sys(SYS_getsockopt, fd, SOL_SOCKET, SO_PEEK_OFF, os::arg(&at), os::arg(&bytes));
  if (at >= 0) return "a socket's bytes are being peeked at";
  long n = os::sys(SYS_recvfrom, fd, os::arg(text), static_cast<long>(text_size),
                   MSG_PEEK | MSG_DONTWAIT);
  if (n > 0) ByteRoots(found, arg).add(text, static_cast<size_t>(n));
  return static_cast<size_t>(n) == text_size ? "a socket holds too much to look at" : nullptr;
}

const char* KernelRoots::readDescriptor(long fd, Siphon& siphon) const {
  struct stat about;
  if (os::failed(os::sys(SYS_fstat, fd, os::arg(&about)))) return nullptr;
  uint32_t kind = about.st_mode & S_IFMT;
  if (kind == 0) return isEpoll(fd) ? readEpoll(fd) : nullptr;
  if (kind == S_IFSOCK) return isLocal(fd) && bytesWaiting(fd) != 0 ? readSocket(fd) : nullptr;
  if (kind != S_IFIFO || bytesWaiting(fd) == 0) return nullptr;
  ByteRoots words(found, arg);
  return siphon.look(fd, text, text_size, [&words](const char* t, size_t n) { words.add(t, n); });
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
  Siphon siphon;
  for (long n; (n = os::sys(SYS_getdents64, dir, os::arg(list), sizeof list)) > 0;) {
    for (long at = 0; at < n;) {
      auto* e = reinterpret_cast<os::DirEntry*>(list + at);
      at += e->bytes;
      if (e->name[0] == '.') continue;
      long fd = 0;
      for (const char* c = e->name; *c != '\0'; c++) fd = fd * 10 + (*c - '0');
      const char* missing = readDescriptor(fd, siphon);
      if (missing != nullptr) why = missing;
    }
  }
  os::sys(SYS_close, dir);
  return why;
}

}  // namespace graft::gc
