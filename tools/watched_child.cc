// Starts, waits and passes signals on (watched_child.h). That the program could not be executed
// comes back over a pipe which a successful exec closes.
#include "tools/watched_child.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "tools/starter.h"

namespace graft::tools {
namespace {

std::atomic<pid_t> running{0};  // read by passOn(), in a signal handler

void passOn(int signal) {
  int saved = errno;
  pid_t pid = running.load(std::memory_order_relaxed);
  if (pid > 0) kill(pid, signal);
  errno = saved;
}

// What signals do while the program runs; afterwards as before.
class Signals {
 public:
  static constexpr int kIgnored[] = {SIGINT, SIGQUIT};
  static constexpr int kPassed[] = {SIGTERM, SIGHUP};

  Signals() {
    struct sigaction action{};
    sigemptyset(&action.sa_mask);
    action.sa_flags = SA_RESTART;
    action.sa_handler = SIG_IGN;
    for (int i = 0; i < 2; i++) sigaction(kIgnored[i], &action, &before_[i]);
    action.sa_handler = passOn;
    for (int i = 0; i < 2; i++) sigaction(kPassed[i], &action, &before_[2 + i]);
  }
  ~Signals() { restore(); }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;
  // In the child, too: what was ignored before stays so over exec.
  void restore() {
    for (int i = 0; i < 2; i++) sigaction(kIgnored[i], &before_[i], nullptr);
    for (int i = 0; i < 2; i++) sigaction(kPassed[i], &before_[2 + i], nullptr);
  }

 private:
  struct sigaction before_[4];
};

}  // namespace

ChildEnd runAndWait(const std::vector<std::string>& program) {
  ChildEnd end;
  std::vector<char*> argv = argvOf(program);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    end.error = errno;
    return end;
  }
  Signals signals;
  pid_t pid = fork();
  if (pid == 0) {
    signals.restore();
    execvp(argv[0], argv.data());
    int error = errno;
    if (write(ends[1], &error, sizeof error) < 0) _exit(126);
    _exit(127);
  }
  if (pid < 0) end.error = errno;
  running.store(pid, std::memory_order_relaxed);
  close(ends[1]);
  if (pid > 0) {
    ssize_t n;
    do {
      n = read(ends[0], &end.error, sizeof end.error);
    } while (n < 0 && errno == EINTR);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    running.store(0, std::memory_order_relaxed);
    end.pid = pid;
    end.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    end.exit_code = end.signal != 0 ? 128 + end.signal : WEXITSTATUS(status);
  }
  close(ends[0]);
  return end;
}

}  // namespace graft::tools
