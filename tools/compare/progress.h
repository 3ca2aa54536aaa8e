// Tells a person at stderr how far the runs are: one line that is drawn over on a terminal, a line
// per run elsewhere. Colour only on a terminal and without NO_COLOR. Single-threaded.
#pragma once

#include <string>
#include <vector>

#include "tools/compare/measures.h"

namespace graft::tools::compare {

class Progress {
 public:
  // `total` runs in all, over so many runtimes.
  Progress(int total, size_t runtimes);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void starts(size_t runtime, const std::string& name, bool warmup);
  void ended(const std::string& name, const RunRecord& run, double seconds);

 private:
  double secondsLeft() const;
  void clear();

  const int total_;
  const bool terminal_;
  const bool colour_;
  int done_ = 0;
  size_t current_ = 0;
  std::vector<double> seconds_;  // of each runtime's runs, summed up
  std::vector<int> counts_;
};

}  // namespace graft::tools::compare
