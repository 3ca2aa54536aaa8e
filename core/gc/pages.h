// Which pages of a range hold anything: those that are present or swapped out. A marker that reads
// only these neither makes pages come into being nor walks through gigabytes of reserved address
// space. Asked by PAGEMAP_SCAN (Linux 6.7), else read from /proc/self/pagemap.
//
// The collector's threads, world stopped. No locks; the descriptor may be shared by threads.
#pragma once

#include <stddef.h>

#include "core/base/types.h"

namespace graft::gc {

struct PageRun {
  Addr from = 0, to = 0;
  bool present = false;  // can be read without a fault, if the mapping can be read at all
  bool file = false;  // page of a file or of shared memory: not a private copy
};

class PageMap {
 public:
  // False: the kernel tells nothing.
  bool open(bool deny_scan);
  void close();
  // Calls f(const PageRun&) for each run of pages in [from, to) that holds something. False: the
  // kernel refused.
  template <class F>
  bool forEach(Addr from, Addr to, F f) const {
    PageRun runs[kRuns];
    while (from < to) {
      long n = next(from, to, runs);
      if (n < 0) return false;
      for (long i = 0; i < n; i++) f(runs[i]);
    }
    return true;
  }

 private:
  static constexpr size_t kRuns = 64;
  // Fills runs and moves `from` behind what was looked at; negative: failed.
  long next(Addr& from, Addr to, PageRun* runs) const;
  long nextByScan(Addr& from, Addr to, PageRun* runs) const;
  long nextByRead(Addr& from, Addr to, PageRun* runs) const;

  long fd_ = 0;
  bool open_ = false, scan_ = false;
};

}  // namespace graft::gc
