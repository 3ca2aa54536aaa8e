// What /proc tells about a tree of processes: who descends from whom, and how much memory each
// holds. Stateless readers, callable from any thread; a process that ends while it is read counts
// as empty. Parsing is apart from reading so that it can be tested on text.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace graft::tools::compare {

struct ProcStat {
  pid_t pid = 0;
  std::string name;
  char state = '?';
  pid_t parent = 0;
  pid_t group = 0;
};

// /proc/PID/stat. The name may hold blanks and parentheses: the last ')' ends it.
std::optional<ProcStat> parseStat(std::string_view text);

// Resident pages of /proc/PID/statm.
std::optional<uint64_t> parseStatm(std::string_view text);

struct Rollup {
  uint64_t rss = 0;  // bytes
  uint64_t pss = 0;  // bytes; a page that k processes share counts 1/k in each
};

// /proc/PID/smaps_rollup.
std::optional<Rollup> parseRollup(std::string_view text);

std::optional<ProcStat> readStat(pid_t pid);
uint64_t rssOf(pid_t pid);                 // bytes; 0 if it is gone
std::optional<Rollup> rollupOf(pid_t pid);  // costs time by the page: see sampler.h

std::vector<pid_t> childrenOf(pid_t pid);

// Everything that descends from `root`, without it. Where `skip` says so, a process and all below
// it are left out.
std::vector<pid_t> descendantsOf(pid_t root, const std::function<bool(pid_t)>& skip);

}  // namespace graft::tools::compare
