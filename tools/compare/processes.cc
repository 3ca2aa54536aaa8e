// Fork, exec, reap and kill for `graft compare` (processes.h). Between fork and exec the child
// makes only calls that are safe after a fork in a process with threads: the sampler may be
// running.
#include "tools/compare/processes.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <stdexcept>

#include "tools/compare/proc_tree.h"

namespace graft::tools::compare {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kKillBound{5000};
constexpr milliseconds kLookAgain{20};

// What the child says through a pipe that the exec closes.
struct FirstWord {
  uint64_t max_rss = 0;
};

std::vector<char*> pointersTo(const std::vector<std::string>& words) {
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  for (const std::string& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

[[noreturn]] void becomeProgram(char* const* argv, char* const* envp, const Launch& launch,
                                const sigset_t& mask, int report) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  int null = open("/dev/null", O_RDWR);
  dup2(null, STDIN_FILENO);
  dup2(launch.output >= 0 ? launch.output : null, STDOUT_FILENO);
  dup2(launch.errors >= 0 ? launch.errors : null, STDERR_FILENO);
  if (null > STDERR_FILENO) close(null);
  sigprocmask(SIG_SETMASK, &mask, nullptr);
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  FirstWord word{static_cast<uint64_t>(usage.ru_maxrss) * 1024};
  int error = 0;
  if (write(report, &word, sizeof word) == static_cast<ssize_t>(sizeof word)) {
    execvpe(argv[0], argv, envp);
    error = errno;
  }
  if (write(report, &error, sizeof error) < 0) _exit(126);
  _exit(127);
}

template <class T>
bool readWhole(int fd, T& value) {
  ssize_t n = 0;
  do {
    n = read(fd, &value, sizeof value);
  } while (n < 0 && errno == EINTR);
  return n == static_cast<ssize_t>(sizeof value);
}

double secondsOf(const timeval& t) {
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
}

void add(Usage& sum, const rusage& usage) {
  sum.user_s += secondsOf(usage.ru_utime);
  sum.sys_s += secondsOf(usage.ru_stime);
  sum.minor_faults += static_cast<uint64_t>(usage.ru_minflt);
  sum.major_faults += static_cast<uint64_t>(usage.ru_majflt);
  sum.max_rss = std::max(sum.max_rss, static_cast<uint64_t>(usage.ru_maxrss) * 1024);
}

}  // namespace

Processes::Processes() {
  int subreaper = 0;
  prctl(PR_GET_CHILD_SUBREAPER, &subreaper);
  was_subreaper_ = subreaper != 0;
  for (pid_t pid : childrenOf(getpid())) foreign_.insert(pid);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  sigset_t mask;
  sigemptyset(&mask);
  for (int signal : {SIGCHLD, SIGINT, SIGTERM, SIGHUP}) sigaddset(&mask, signal);
  sigprocmask(SIG_BLOCK, &mask, &old_mask_);
  signals_ = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals_ < 0) throw std::runtime_error("signalfd fails");
}

Processes::~Processes() {
  endAll(milliseconds(0));
  close(signals_);
  sigprocmask(SIG_SETMASK, &old_mask_, nullptr);
  if (!was_subreaper_) prctl(PR_SET_CHILD_SUBREAPER, 0);
}

int Processes::start(const Launch& launch, Group& group) {
  std::vector<char*> argv = pointersTo(launch.command);
  std::vector<char*> envp = pointersTo(launch.environment);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return errno;
  group.started_at = Clock::now();
  pid_t pid = fork();
  if (pid == 0) becomeProgram(argv.data(), envp.data(), launch, old_mask_, ends[1]);
  int error = pid < 0 ? errno : 0;
  close(ends[1]);
  if (pid > 0) {
    setpgid(pid, pid);  // as the child does: whoever comes first
    group.root = pid;
    if (!groups_.empty()) second_ = pid;
    groups_.push_back(&group);
    FirstWord word;
    if (readWhole(ends[0], word)) group.rss_floor = word.max_rss;
    readWhole(ends[0], error);
  }
  close(ends[0]);
  return error;
}

void Processes::wait(Clock::time_point until) {
  auto left = std::chrono::ceil<milliseconds>(until - Clock::now());
  constexpr milliseconds kLongest{60'000};
  left = std::clamp(left, milliseconds(0), kLongest);
  pollfd p{signals_, POLLIN, 0};
  poll(&p, 1, static_cast<int>(left.count()));
  signalfd_siginfo info;
  while (read(signals_, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    if (info.ssi_signo != SIGCHLD) interrupted_ = static_cast<int>(info.ssi_signo);
  }
  reap();
}

// A process is claimed by its process group as long as it is a zombie, so it is looked at first.
void Processes::reap() {
  siginfo_t info{};
  while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0) {
    pid_t pid = info.si_pid;
    if (foreign_.count(pid) != 0 || groups_.empty()) {
      waitpid(pid, nullptr, 0);
      continue;
    }
    Group& group = groupOf(pid);
    int status = 0;
    rusage usage{};
    if (wait4(pid, &status, 0, &usage) != pid) continue;
    add(group.usage, usage);
    if (pid == group.root) {
      group.ended = true;
      group.status = status;
      group.ended_at = Clock::now();
    }
    info = {};
  }
}

Group& Processes::groupOf(pid_t pid) {
  for (Group* group : groups_) {
    if (pid == group->root) return *group;
  }
  pid_t claimed = getpgid(pid);
  for (Group* group : groups_) {
    if (claimed == group->root) return *group;
  }
  return *groups_.front();
}

std::vector<pid_t> Processes::members() const {
  pid_t other = second_;
  return descendantsOf(getpid(), [&](pid_t pid) {
    return foreign_.count(pid) != 0 || (other != 0 && (pid == other || getpgid(pid) == other));
  });
}

std::vector<pid_t> Processes::everything() const {
  return descendantsOf(getpid(), [&](pid_t pid) { return foreign_.count(pid) != 0; });
}

int Processes::endAll(Clock::duration grace) {
  wait(Clock::now());
  std::vector<pid_t> left = everything();
  auto count = static_cast<int>(left.size());
  for (int signal : {SIGTERM, SIGKILL}) {
    Clock::time_point until = Clock::now() + (signal == SIGTERM ? grace : kKillBound);
    if (signal == SIGTERM && grace == Clock::duration::zero()) continue;
    std::unordered_set<pid_t> told;
    while (!left.empty() && Clock::now() < until) {
      for (pid_t pid : left) {
        if (told.insert(pid).second) kill(pid, signal);
      }
      wait(std::min(until, Clock::now() + kLookAgain));
      left = everything();
    }
  }
  return count;
}

void Processes::forget() {
  second_ = 0;
  groups_.clear();
}

}  // namespace graft::tools::compare
