// Draws the progress bar or prints plain lines (progress.h). The time left is what the runs have
// taken on average so far, runtime by runtime, times the runs that are left.
#include "tools/compare/progress.h"

#include <fmt/core.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "tools/compare/format.h"

namespace graft::tools::compare {
namespace {

constexpr int kBarWidth = 24;

bool noColour() {
  const char* value = std::getenv("NO_COLOR");
  return value != nullptr && *value != '\0';
}

bool dumbTerminal() {
  const char* term = std::getenv("TERM");
  return term == nullptr || std::strcmp(term, "dumb") == 0;
}

}  // namespace

Progress::Progress(int total, size_t runtimes)
    : total_(total),
      terminal_(isatty(STDERR_FILENO) == 1 && !dumbTerminal()),
      colour_(terminal_ && !noColour()),
      seconds_(runtimes, 0),
      counts_(runtimes, 0) {}

Progress::~Progress() { clear(); }

void Progress::clear() {
  if (terminal_) fmt::print(stderr, "\r\033[K");
}

double Progress::secondsLeft() const {
  double sum = 0;
  int count = 0;
  for (size_t i = 0; i < seconds_.size(); i++) {
    sum += seconds_[i];
    count += counts_[i];
  }
  return count == 0 ? -1 : sum / count * (total_ - done_);
}

void Progress::starts(size_t runtime, const std::string& name, bool warmup) {
  current_ = runtime;
  if (!terminal_) return;
  int full = kBarWidth * done_ / total_;
  std::string bar(static_cast<size_t>(full), '#');
  std::string rest(static_cast<size_t>(kBarWidth - full), '-');
  double left = secondsLeft();
  fmt::print(stderr, "\r\033[K[{}{}{}{}] run {}/{}  {}{}{}", colour_ ? "\033[32m" : "", bar,
             colour_ ? "\033[0m" : "", rest, done_ + 1, total_, name, warmup ? " (warm-up)" : "",
             left < 0 ? "" : fmt::format("  ETA {}", formatDuration(left)));
  std::fflush(stderr);
}

void Progress::ended(const std::string& name, const RunRecord& run, double seconds) {
  done_++;
  seconds_[current_] += seconds;
  counts_[current_]++;
  if (terminal_ && run.problem.empty()) return;
  clear();
  std::string figures = run.problem;
  if (figures.empty()) {
    figures = formatValue(run.measures[Measure::kWall].value_or(0), "s");
    if (auto rss = run.measures[Measure::kPeakRss]) {
      figures += fmt::format(", peak {}", formatValue(*rss, "B"));
    }
  }
  fmt::print(stderr, "run {}/{}: {}: {}\n", done_, total_, name, figures);
}

}  // namespace graft::tools::compare
