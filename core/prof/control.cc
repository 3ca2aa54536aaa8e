// See control.h. Descriptors sit high and are CLOEXEC; before each use of one that the program may
// have closed, its inode is compared. A listener that was closed is made anew under the same name.
#include "core/prof/control.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "core/base/bits.h"
#include "core/base/options.h"
#include "core/os/clock.h"
#include "core/os/message.h"
#include "core/os/sys.h"

namespace graft::prof {
namespace {

constexpr int kHighFd = 512;
constexpr long kClientSeconds = 5;
constexpr int kLookMs = 1000;  // how long a closed listener may go unnoticed
constexpr int kWaiting = 64;  // clients, until it is their turn
constexpr size_t kRequest = 256;
constexpr int kMostUnread = 256;  // pieces of kRequest

// A listener or client of ours, moved out of the program's way; or -errno.
int moveUp(long fd) {
  if (os::failed(fd) || fd >= kHighFd) return static_cast<int>(fd);
  long high = os::sys(SYS_fcntl, fd, F_DUPFD_CLOEXEC, kHighFd);
  if (os::failed(high)) return static_cast<int>(fd);
  os::sys(SYS_close, fd);
  return static_cast<int>(high);
}

}  // namespace

// --- Replies

void Reply::flush() {
  for (size_t at = 0; at < used_ && !failed_;) {
    long n = os::sys(SYS_sendto, fd_, os::arg(buffer_ + at), static_cast<long>(used_ - at),
                     MSG_NOSIGNAL, 0, 0);
    if (n == -4) continue;  // EINTR
    failed_ = os::failed(n) || n == 0;
    if (!failed_) at += static_cast<size_t>(n);
  }
  used_ = 0;
}

void Reply::raw(const char* data, size_t n) {
  while (n != 0 && !failed_) {
    size_t part = sizeof buffer_ - used_;
    if (part > n) part = n;
    base::copyBytes(buffer_ + used_, data, part);
    used_ += part;
    data += part;
    n -= part;
    if (used_ == sizeof buffer_) flush();
  }
}

void Reply::line(base::Line& text) {
  text.nl();
  raw(text.data(), text.size());
  text.clear();
}

// --- Descriptors

void Control::Socket::set(int to) {
  struct stat st{};
  os::sys(SYS_fstat, to, os::arg(&st));
  inode = st.st_ino;
  fd = to;
}

bool Control::Socket::ours() const {
  struct stat st{};
  if (inode == 0 || os::failed(os::sys(SYS_fstat, fd, os::arg(&st)))) return false;
  return S_ISSOCK(st.st_mode) && st.st_ino == inode;
}

void Control::Socket::close() {
  if (ours()) os::sys(SYS_close, fd);
  inode = 0;
}

// --- Start and end

void Control::init(const char* where, const char* runtime_dir, const Command* commands) {
  commands_ = commands;
  pid_ = static_cast<uint32_t>(os::getpid());
  base::Int on = where[0] == '/';
  bool said = on != 0 || base::parseBool(where, on);
  if (where[0] == '\0' || (said && on == 0)) return;
  base::Line line;
  if (where[0] == '/') {
    line.str(where);
  } else if (!said) {
    line.str("graft: GRAFT_CONTROL");
    base::quoteValue(where, base::stringLength(where), line);
    line.str(": expected on, off or an absolute path; there is no control socket\n");
    return os::say(line);
  } else if (runtime_dir != nullptr && runtime_dir[0] == '/') {
    line.str(runtime_dir).str("/graft");
  } else {
    line.str("/tmp/graft-").udec(static_cast<uint64_t>(os::sys(SYS_geteuid)));
  }
  if (line.size() + sizeof "/4194304.sock" > kMostPath) return say("the folder's name is too long");
  base::copyBytes(folder_, line.c_str(), line.size());
}

void Control::say(const char* problem) {
  base::Line line;
  line.str("graft: no control socket");
  if (folder_[0] != '\0') line.str(" in ").str(folder_);
  os::say(line.str(": ").str(problem).nl());
}

// The folder may lie where others can write: it must be a folder of ours that only we can change.
const char* Control::makeFolder() {
  os::sys(SYS_mkdir, os::arg(folder_), 0700);
  struct stat st{};
  if (os::failed(os::sys(SYS_lstat, os::arg(folder_), os::arg(&st)))) {
    return "the folder cannot be made";
  }
  if (!S_ISDIR(st.st_mode)) return "it is no folder";
  if (st.st_uid != static_cast<uint32_t>(os::sys(SYS_geteuid))) return "the folder is not ours";
  if ((st.st_mode & 022) != 0) return "others can write to the folder";
  return nullptr;
}

const char* Control::listen() {
  int fd = moveUp(os::sys(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (fd < 0) return "the kernel gives no socket";
  os::sys(SYS_fchmod, fd, 0600);  // bind gives the file this mode
  os::sys(SYS_unlink, os::arg(name_.sun_path));  // of an earlier process with our id
  if (os::failed(os::sys(SYS_bind, fd, os::arg(&name_), sizeof name_)) ||
      os::failed(os::sys(SYS_listen, fd, kWaiting))) {
    os::sys(SYS_close, fd);
    return "the socket cannot be made there";
  }
  listener_.set(fd);
  return nullptr;
}

void Control::start() {
  os::Lock lock(mu_);
  if (state_.loadRelaxed() != kNone) return;
  state_.storeRelaxed(kServing);
  stop_.storeRelaxed(0);
  base::Line line;
  line.str(folder_).chr('/').udec(pid_).str(".sock");
  name_ = {};
  name_.sun_family = AF_UNIX;
  base::copyBytes(name_.sun_path, line.c_str(), line.size());
  const char* problem = makeFolder();
  if (problem == nullptr) problem = listen();
  if (problem == nullptr && !thread_.start(entry, this)) problem = "the kernel gives no thread";
  if (problem == nullptr) return;
  listener_.close();
  say(problem);
  folder_[0] = '\0';  // said once
}

void Control::stop(bool forever) {
  // A vfork child changes nothing of its parent's, and a child of a raw clone has no such thread.
  if (!asked() || pid_ != static_cast<uint32_t>(os::getpid())) return;
  os::Lock lock(mu_);
  if (forever) folder_[0] = '\0';
  if (!serving()) return;
  stop_.storeRelease(1);
  if (listener_.ours()) os::sys(SYS_shutdown, listener_.fd, SHUT_RDWR);
  if (client_.ours()) os::sys(SYS_shutdown, client_.fd, SHUT_RDWR);
  thread_.join();
  os::sys(SYS_unlink, os::arg(name_.sun_path));
  listener_.close();
  state_.storeRelease(kNone);
}

void Control::leave() {
  if (!serving() || pid_ != static_cast<uint32_t>(os::getpid())) return;
  stop_.storeRelease(1);
  os::sys(SYS_unlink, os::arg(name_.sun_path));
}

void Control::forkChild() {
  pid_ = static_cast<uint32_t>(os::getpid());
  mu_.reset();
  thread_.forget();
  listener_.close();
  client_.close();
  state_.storeRelaxed(kNone);
}

// --- Serving

void Control::entry(void* self) { static_cast<Control*>(self)->run(); }

void Control::run() {
  while (stop_.loadAcquire() == 0) {
    if (!listener_.ours() && listen() != nullptr) return;
    pollfd p{listener_.fd, POLLIN, 0};
    if (os::sys(SYS_poll, os::arg(&p), 1, kLookMs) <= 0 || !listener_.ours()) continue;
    int fd = moveUp(os::sys(SYS_accept4, listener_.fd, 0, 0, SOCK_CLOEXEC));
    if (stop_.loadAcquire() != 0) return;
    if (fd < 0) {
      os::sleepNs(100'000'000);  // no descriptor, perhaps: later
      continue;
    }
    client_.set(fd);
    serve(fd);
    client_.close();
  }
}

// Reads requests until the client is done, silent for too long, or does not keep to the protocol.
void Control::serve(int fd) {
  struct {
    long seconds, micros;
  } patience{kClientSeconds, 0};
  os::sys(SYS_setsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, os::arg(&patience), sizeof patience);
  os::sys(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDTIMEO, os::arg(&patience), sizeof patience);
  Reply reply(fd);
  auto refuse = [&reply](const char* why) {
    base::Line line;
    reply.line(line.str("error: ").str(why));
    reply.flush();
  };
  struct {
    int pid;
    uint32_t uid, gid;
  } peer{0, ~0u, ~0u};
  unsigned size = sizeof peer;
  os::sys(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, os::arg(&peer), os::arg(&size));
  if (peer.uid != 0 && peer.uid != static_cast<uint32_t>(os::sys(SYS_geteuid))) {
    return refuse("only the process's own user and root may ask");
  }
  char text[kRequest];
  size_t have = 0;
  while (stop_.loadAcquire() == 0) {
    long n = os::sys(SYS_recvfrom, fd, os::arg(text + have), static_cast<long>(sizeof text - have),
                     0, 0, 0);
    if (n == -4) continue;  // EINTR
    if (n <= 0) return;
    have += static_cast<size_t>(n);
    for (size_t end = 0; end < have;) {
      if (text[end++] != '\n') continue;
      if (!answer(text, end - 1, reply)) return;
      for (size_t i = end; i < have; i++) text[i - end] = text[i];
      have -= end;
      end = 0;
    }
    if (have < sizeof text) continue;
    refuse("a request is one line of at most 255 bytes");
    // What is left unread when a socket is closed takes the answer away from the client.
    os::sys(SYS_shutdown, fd, SHUT_WR);
    for (int i = 0; i < kMostUnread; i++) {
      if (os::sys(SYS_recvfrom, fd, os::arg(text), sizeof text, 0, 0, 0) <= 0) return;
    }
    return;
  }
}

// request[n] is the newline. False: the client is gone.
bool Control::answer(char* request, size_t n, Reply& reply) {
  request[n] = '\0';
  size_t word = 0;
  while (word < n && request[word] != ' ') word++;
  const char* argument = word < n ? request + word + 1 : "";
  base::Line line;
  for (const Command* c = commands_; c->name != nullptr; c++) {
    if (base::stringLength(c->name) != word || __builtin_memcmp(c->name, request, word) != 0) {
      continue;
    }
    const char* problem = c->run(argument, reply);
    if (problem != nullptr) line.str("error: ").str(problem);
    reply.line(problem != nullptr ? line : line.str("ok"));
    reply.flush();
    return !reply.failed();
  }
  line.str("error: unknown request '");
  base::quoteValue(request, n, line);
  line.str("'; known are");
  for (const Command* c = commands_; c->name != nullptr; c++) line.chr(' ').str(c->name);
  reply.line(line);
  reply.flush();
  return !reply.failed();
}

}  // namespace graft::prof
