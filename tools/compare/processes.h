// The processes of one run: started in a process group of their own, reaped with their resource
// use, and ended whatever they do. graft becomes their subreaper, so that what a program leaves
// behind comes back to be counted and ended too. Children that this process had before are never
// touched.
//
// One thread (the one that constructs it) starts, waits and ends; SIGCHLD, SIGINT, SIGTERM and
// SIGHUP are blocked there and read from a signalfd while the object lives. members() is for any
// thread.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <unordered_set>
#include <vector>

namespace graft::tools::compare {

using Clock = std::chrono::steady_clock;

// What wait4() says, added up over all processes of a group.
struct Usage {
  double user_s = 0;
  double sys_s = 0;
  uint64_t minor_faults = 0;
  uint64_t major_faults = 0;
  uint64_t max_rss = 0;  // bytes, of the largest single process
};

// One started process and everything that descends from it.
struct Group {
  pid_t root = 0;
  bool ended = false;  // root has
  int status = 0;      // root's, as wait4() gives it
  Clock::time_point started_at;
  Clock::time_point ended_at;
  Usage usage;
  // A process's maximum RSS includes that of its fork before the exec: below this it says nothing.
  uint64_t rss_floor = 0;
};

struct Launch {
  std::vector<std::string> command;  // command[0] is looked up in PATH
  std::vector<std::string> environment;  // NAME=VALUE
  int output = -1;  // for stdout
  int errors = -1;  // for stderr
};

class Processes {
 public:
  Processes();
  ~Processes();
  Processes(const Processes&) = delete;
  Processes& operator=(const Processes&) = delete;

  // 0, or the errno for which the program could not be executed.
  int start(const Launch& launch, Group& group);

  // Returns when some process ended, a signal came or the time is up; everything that ended has
  // been reaped by then.
  void wait(Clock::time_point until);

  // The signal that asks graft to stop, or 0.
  int interrupted() const { return interrupted_; }

  // The processes of the group that was started first and of everything nobody else claims.
  std::vector<pid_t> members() const;

  // Asks all that is left to end, then kills it. The number of processes that were left.
  int endAll(Clock::duration grace);

  // After endAll(): forgets the groups.
  void forget();

 private:
  void reap();
  Group& groupOf(pid_t pid);
  std::vector<pid_t> everything() const;

  std::unordered_set<pid_t> foreign_;  // immutable after construction
  std::vector<Group*> groups_;  // the main thread only
  std::atomic<pid_t> second_{0};  // root of the second group
  int signals_ = -1;
  int interrupted_ = 0;
  bool was_subreaper_ = false;
  sigset_t old_mask_;
};

}  // namespace graft::tools::compare
