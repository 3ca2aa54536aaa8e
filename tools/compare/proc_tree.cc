// Readers of /proc/PID/{stat,statm,smaps_rollup,task/TID/children} (proc_tree.h). The children
// files need CONFIG_PROC_CHILDREN, which distributions set; without it every process is looked at.
#include "tools/compare/proc_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <charconv>
#include <memory>

namespace graft::tools::compare {
namespace {

std::string readSmallFile(const std::string& path) {
  std::string text;
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return text;
  char buffer[4096];
  for (ssize_t n = read(fd, buffer, sizeof buffer); n > 0; n = read(fd, buffer, sizeof buffer)) {
    text.append(buffer, static_cast<size_t>(n));
  }
  close(fd);
  return text;
}

// The next number of `text`, which is moved behind it.
template <class T>
std::optional<T> nextNumber(std::string_view& text) {
  size_t begin = text.find_first_not_of(" \t\n");
  if (begin == std::string_view::npos) return std::nullopt;
  T value{};
  auto [end, error] = std::from_chars(text.data() + begin, text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return value;
}

// The names in a folder that are numbers: processes, or threads of one.
std::vector<pid_t> numbersIn(const std::string& folder) {
  std::vector<pid_t> numbers;
  std::unique_ptr<DIR, int (*)(DIR*)> dir(opendir(folder.c_str()), closedir);
  if (dir == nullptr) return numbers;
  while (const dirent* entry = readdir(dir.get())) {
    std::string_view name = entry->d_name;
    if (auto number = nextNumber<pid_t>(name)) numbers.push_back(*number);
  }
  return numbers;
}

bool haveChildrenFiles() {
  static const bool have =
      access(fmt::format("/proc/self/task/{}/children", getpid()).c_str(), R_OK) == 0;
  return have;
}

std::vector<pid_t> childrenByParent(pid_t pid) {
  std::vector<pid_t> children;
  for (pid_t other : numbersIn("/proc")) {
    auto stat = readStat(other);
    if (stat && stat->parent == pid) children.push_back(other);
  }
  return children;
}

}  // namespace

std::optional<ProcStat> parseStat(std::string_view text) {
  ProcStat stat;
  std::string_view rest = text;
  auto pid = nextNumber<pid_t>(rest);
  size_t open = text.find('(');
  size_t close = text.rfind(')');
  if (!pid || open == std::string_view::npos || close == std::string_view::npos || close < open) {
    return std::nullopt;
  }
  stat.pid = *pid;
  stat.name = text.substr(open + 1, close - open - 1);
  rest = text.substr(close + 1);
  size_t state = rest.find_first_not_of(' ');
  if (state == std::string_view::npos) return std::nullopt;
  stat.state = rest[state];
  rest.remove_prefix(state + 1);
  auto parent = nextNumber<pid_t>(rest);
  auto group = nextNumber<pid_t>(rest);
  if (!parent || !group) return std::nullopt;
  stat.parent = *parent;
  stat.group = *group;
  return stat;
}

std::optional<uint64_t> parseStatm(std::string_view text) {
  if (!nextNumber<uint64_t>(text)) return std::nullopt;  // the size of the address space
  return nextNumber<uint64_t>(text);
}

std::optional<Rollup> parseRollup(std::string_view text) {
  Rollup rollup;
  bool rss = false;
  bool pss = false;
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(line.size() + (line.size() < text.size() ? 1 : 0));
    bool is_rss = line.substr(0, 4) == "Rss:";
    bool is_pss = line.substr(0, 4) == "Pss:";
    if (!is_rss && !is_pss) continue;
    std::string_view rest = line.substr(4);
    auto kib = nextNumber<uint64_t>(rest);
    if (!kib) return std::nullopt;
    (is_rss ? rollup.rss : rollup.pss) = *kib * 1024;
    (is_rss ? rss : pss) = true;
  }
  if (!rss || !pss) return std::nullopt;
  return rollup;
}

std::optional<ProcStat> readStat(pid_t pid) {
  return parseStat(readSmallFile(fmt::format("/proc/{}/stat", pid)));
}

uint64_t rssOf(pid_t pid) {
  static const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return parseStatm(readSmallFile(fmt::format("/proc/{}/statm", pid))).value_or(0) * page;
}

std::optional<Rollup> rollupOf(pid_t pid) {
  return parseRollup(readSmallFile(fmt::format("/proc/{}/smaps_rollup", pid)));
}

std::vector<pid_t> childrenOf(pid_t pid) {
  if (!haveChildrenFiles()) return childrenByParent(pid);
  std::vector<pid_t> children;
  std::string folder = fmt::format("/proc/{}/task", pid);
  for (pid_t thread : numbersIn(folder)) {
    std::string text = readSmallFile(fmt::format("{}/{}/children", folder, thread));
    std::string_view rest = text;
    while (auto child = nextNumber<pid_t>(rest)) children.push_back(*child);
  }
  return children;
}

std::vector<pid_t> descendantsOf(pid_t root, const std::function<bool(pid_t)>& skip) {
  std::vector<pid_t> tree;
  std::vector<pid_t> open{root};
  while (!open.empty()) {
    pid_t parent = open.back();
    open.pop_back();
    for (pid_t child : childrenOf(parent)) {
      if (skip(child)) continue;
      tree.push_back(child);
      open.push_back(child);
    }
  }
  return tree;
}

}  // namespace graft::tools::compare
