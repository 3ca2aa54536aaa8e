// The sampler's thread and the sums over its points (sampler.h). Nothing is locked while /proc is
// read, so that stop() is never held up by more than one look.
#include "tools/compare/sampler.h"

#include <algorithm>

#include "tools/compare/proc_tree.h"

namespace graft::tools::compare {
namespace {

using std::chrono::milliseconds;

constexpr int kShare = 50;  // a look may take one part in as many of the time
constexpr milliseconds kFirstLook{3};
constexpr milliseconds kShortest{10};
constexpr milliseconds kLongestRss{100};
constexpr milliseconds kShortestPss{50};
constexpr milliseconds kLongestPss{2000};
constexpr milliseconds kLongestTree{1000};
constexpr int kPointsPerRun = 1000;  // the RSS period grows to keep to about as many

}  // namespace

void Pace::looked(Clock::time_point began, Clock::time_point ended) {
  next_ = began + std::clamp((ended - began) * kShare, shortest_, longest_);
}

void Pace::stretch(Clock::duration shortest) {
  shortest_ = std::clamp(shortest, shortest_, longest_);
}

Sampler::Sampler(Members members, Clock::time_point start)
    : members_(std::move(members)),
      start_(start),
      tree_pace_(kShortest, kLongestTree, start + kFirstLook),
      rss_pace_(kShortest, kLongestRss, start + kFirstLook),
      pss_pace_(kShortestPss, kLongestPss, start + kFirstLook),
      thread_([this] { loop(); }) {}

Sampler::~Sampler() { stop(false); }

Series Sampler::stop(bool last_look) {
  {
    std::lock_guard lock(mu_);
    stopping_ = true;
    last_look_ = last_look_ || last_look;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
  return std::move(series_);
}

double Sampler::since(Clock::time_point now) const {
  return std::chrono::duration<double>(now - start_).count();
}

void Sampler::loop() {
  std::unique_lock lock(mu_);
  while (!stopping_) {
    lock.unlock();
    look(Clock::now());
    Clock::time_point next = std::min({tree_pace_.next(), rss_pace_.next(), pss_pace_.next()});
    lock.lock();
    wake_.wait_until(lock, next, [this] { return stopping_; });
  }
  if (!last_look_) return;
  lock.unlock();
  pids_ = members_();
  lookAtRss();
  lookAtPss();
}

void Sampler::look(Clock::time_point now) {
  if (tree_pace_.due(now)) {
    pids_ = members_();
    tree_pace_.looked(now, Clock::now());
  }
  if (rss_pace_.due(now)) {
    Clock::time_point began = Clock::now();
    rss_pace_.stretch((now - start_) / kPointsPerRun);
    lookAtRss();
    rss_pace_.looked(began, Clock::now());
  }
  if (pss_pace_.due(now)) {
    Clock::time_point began = Clock::now();
    lookAtPss();
    pss_pace_.looked(began, Clock::now());
  }
}

void Sampler::lookAtRss() {
  SamplePoint point{since(Clock::now()), 0};
  for (pid_t pid : pids_) point.bytes += rssOf(pid);
  if (point.bytes != 0) series_.rss.push_back(point);
}

void Sampler::lookAtPss() {
  SamplePoint point{since(Clock::now()), 0};
  for (pid_t pid : pids_) {
    if (auto rollup = rollupOf(pid)) point.bytes += rollup->pss;
  }
  if (point.bytes != 0) series_.pss.push_back(point);
}

double meanOf(const std::vector<SamplePoint>& points, double from, double to) {
  double sum = 0;
  double time = 0;
  for (size_t i = 0; i < points.size(); i++) {
    // A sample stands for the time until the next one.
    double begin = std::max(points[i].at, from);
    double end = std::min(i + 1 < points.size() ? points[i + 1].at : to, to);
    if (end <= begin) continue;
    sum += static_cast<double>(points[i].bytes) * (end - begin);
    time += end - begin;
  }
  return time > 0 ? sum / time : 0;
}

uint64_t peakOf(const std::vector<SamplePoint>& points) {
  uint64_t peak = 0;
  for (const SamplePoint& point : points) peak = std::max(peak, point.bytes);
  return peak;
}

std::vector<SamplePoint> thinned(const std::vector<SamplePoint>& points, size_t most) {
  if (points.size() <= most || most < 3) return points;
  std::vector<SamplePoint> kept{points.front()};
  size_t inner = points.size() - 2;
  size_t stretches = most - 2;
  for (size_t i = 0; i < stretches; i++) {
    auto begin = points.begin() + 1 + static_cast<ptrdiff_t>(inner * i / stretches);
    auto end = points.begin() + 1 + static_cast<ptrdiff_t>(inner * (i + 1) / stretches);
    kept.push_back(*std::max_element(
        begin, end, [](const auto& a, const auto& b) { return a.bytes < b.bytes; }));
  }
  kept.push_back(points.back());
  return kept;
}

}  // namespace graft::tools::compare
