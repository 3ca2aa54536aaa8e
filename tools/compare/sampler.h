// Watches the memory of one run: a thread of its own that adds up RSS and PSS over the processes of
// the run until it is stopped. Every kind of look paces itself: it may take at most one fiftieth of
// the time, between a shortest and a longest period.
//
//   tree   10 ms .. 1 s      which processes belong to the run
//   RSS    10 ms .. 100 ms   /proc/PID/statm, a counter; the period grows with the length of the
//   run PSS   100 ms .. 2 s      /proc/PID/smaps_rollup walks the page tables under the program's
//   mmap lock
#pragma once

#include <sys/types.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace graft::tools::compare {

using Clock = std::chrono::steady_clock;

struct SamplePoint {
  double at = 0;  // seconds since the start of the run
  uint64_t bytes = 0;
};

struct Series {
  std::vector<SamplePoint> rss;
  std::vector<SamplePoint> pss;
};

// Time-weighted mean between two moments of the run; 0 without samples there.
double meanOf(const std::vector<SamplePoint>& points, double from, double to);
uint64_t peakOf(const std::vector<SamplePoint>& points);

// At most `most` points: of each stretch of time the highest one, so that peaks stay.
std::vector<SamplePoint> thinned(const std::vector<SamplePoint>& points, size_t most);

// When the next look is due, given what the last one cost.
class Pace {
 public:
  Pace(Clock::duration shortest, Clock::duration longest, Clock::time_point first)
      : shortest_(shortest), longest_(longest), next_(first) {}
  bool due(Clock::time_point now) const { return now >= next_; }
  Clock::time_point next() const { return next_; }
  void looked(Clock::time_point began, Clock::time_point ended);
  void stretch(Clock::duration shortest);

 private:
  Clock::duration shortest_;
  Clock::duration longest_;
  Clock::time_point next_;
};

class Sampler {
 public:
  using Members = std::function<std::vector<pid_t>()>;

  // `members` is called from the sampler's thread.
  Sampler(Members members, Clock::time_point start);
  ~Sampler();
  Sampler(const Sampler&) = delete;
  Sampler& operator=(const Sampler&) = delete;

  // Ends the thread; with `last_look` both kinds of memory are read once more first.
  Series stop(bool last_look);

 private:
  void loop();
  void look(Clock::time_point now);
  void lookAtRss();
  void lookAtPss();
  double since(Clock::time_point now) const;

  const Members members_;
  const Clock::time_point start_;
  // The sampler's thread only, until it has ended.
  std::vector<pid_t> pids_;
  Series series_;
  Pace tree_pace_;
  Pace rss_pace_;
  Pace pss_pace_;

  std::mutex mu_;
  std::condition_variable wake_;
  bool stopping_ = false;  // guarded by mu_
  bool last_look_ = false;  // guarded by mu_
  std::thread thread_;
};

}  // namespace graft::tools::compare
