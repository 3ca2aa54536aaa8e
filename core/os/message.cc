// Message output and the end of the process; see message.h. Raw system calls only.
#include "core/os/message.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include "core/os/host.h"
#include "core/os/sys.h"

namespace graft::os {

namespace {

struct FileIdentity {
  uint64_t dev = 0;
  uint64_t ino = 0;
  bool known = false;
  bool stream = false;  // a terminal or a pipe
  bool operator==(const FileIdentity&) const = default;
};
constinit FileIdentity stderr_at_start{};
constinit const char* log_pattern = "";

FileIdentity identify(int fd) {
  struct stat st;
  if (failed(sys(SYS_fstat, fd, arg(&st)))) return {};
  return {st.st_dev, st.st_ino, true, S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode)};
}

}  // namespace

void initMessages(const char* log) {
  log_pattern = log;
  stderr_at_start = identify(2);
}

namespace {

void sayTo(const char* text, size_t n, bool any_stream) {
  if (log_pattern[0] != '\0') {
    int fd = openOutput(log_pattern, true);
    if (fd >= 0) {
      writeAll(fd, text, n);
      closeOutput(fd);
      return;
    }
  }
  FileIdentity now = identify(2);
  bool ours = now.known && now == stderr_at_start;
  if (ours || (any_stream && now.stream)) writeAll(2, text, n);
}

}  // namespace

void say(const char* text, size_t n) { sayTo(text, n, false); }
void sayLast(const char* text, size_t n) { sayTo(text, n, true); }

int openOutput(const char* pattern, bool append) {
  base::Line path;
  for (const char* s = pattern; *s != '\0'; s++) {
    if (s[0] == '%' && s[1] == 'p') {
      path.dec(getpid());
      s++;
    } else {
      path.chr(*s);
    }
  }
  int flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | (append ? O_APPEND : O_TRUNC);
  long fd = sys(SYS_openat, AT_FDCWD, arg(path.c_str()), flags, 0644);
  if (failed(fd) || fd >= 512) return static_cast<int>(fd);
  long high = sys(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 512);
  if (failed(high)) return static_cast<int>(fd);
  sys(SYS_close, fd);
  return static_cast<int>(high);
}

void writeAll(int fd, const char* text, size_t n) {
  while (n != 0) {
    long w = sys(SYS_write, fd, arg(text), static_cast<long>(n));
    if (failed(w)) {
      if (w == -4) continue;  // EINTR
      return;
    }
    text += w;
    n -= static_cast<size_t>(w);
  }
}

void closeOutput(int fd) { sys(SYS_close, fd); }

void die() {
  if (host.abort != nullptr) host.abort();
  // No host, or its abort came back: the default action of SIGABRT, delivered to this thread.
  struct {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)();
    uint64_t mask;
  } dfl{SIG_DFL, 0, nullptr, 0};
  uint64_t unblock = uint64_t{1} << (SIGABRT - 1);
  sys(SYS_rt_sigaction, SIGABRT, arg(&dfl), 0, 8);
  sys(SYS_rt_sigprocmask, SIG_UNBLOCK, arg(&unblock), 0, 8);
  sys(SYS_tgkill, getpid(), gettid(), SIGABRT);
  for (;;) sys(SYS_exit_group, 134);
}

}  // namespace graft::os
