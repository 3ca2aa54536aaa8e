// Names of mallocs to libraries (runtimes.h). Versions come from dpkg's status file, because the
// libraries' sonames do not hold them and asking a library would mean to load it.
#include "tools/compare/runtimes.h"

#include <fmt/core.h>
#include <gnu/libc-version.h>

#include <algorithm>
#include <cctype>
#include <fstream>

#include "core/base/version.h"
#include "tools/find_lib.h"
#include "tools/system_facts.h"

namespace graft::tools::compare {
namespace {

struct Known {
  const char* name;
  const char* package;
  const char* files[2];
};

constexpr Known kKnown[] = {
    {"jemalloc", "libjemalloc2", {"libjemalloc.so.2", nullptr}},
    {"tcmalloc", "libtcmalloc-minimal4", {"libtcmalloc_minimal.so.4", "libtcmalloc.so.4"}},
    {"mimalloc", "libmimalloc2.0", {"libmimalloc.so.2", "libmimalloc.so.2.0"}},
};

// The installed version of a Debian package, or "".
std::string versionOfPackage(std::string_view package) {
  std::ifstream status("/var/lib/dpkg/status");
  std::string line;
  bool here = false;
  while (std::getline(status, line)) {
    if (line.compare(0, 9, "Package: ") == 0) here = line.substr(9) == package;
    if (here && line.compare(0, 9, "Version: ") == 0) return line.substr(9);
  }
  return "";
}

bool isName(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
  });
}

// A known library that is not there leaves `missing`.
Runtime findKnown(const Known& known, std::string& missing) {
  for (const char* file : known.files) {
    std::string path = file != nullptr ? findLibraryFile(file) : "";
    if (!path.empty()) return {known.name, path, versionOfPackage(known.package)};
  }
  missing = fmt::format("{} is not installed: apt install {}, or give {}=PATH", known.name,
                        known.package, known.name);
  return {};
}

Runtime findGlibc(const Wanted& wanted) {
  std::string library = wanted.linked.empty() ? "" : findLibraryFile("libc.so.6");
  return {"glibc", library, gnu_get_libc_version()};
}

Runtime findRuntime(const Wanted& wanted, const std::string& item, std::string& missing,
                    std::string& problem) {
  size_t equals = item.find('=');
  std::string name = item.substr(0, equals);
  if (!isName(name)) {
    problem = fmt::format("--against: '{}' is not a name", name);
    return {};
  }
  if (equals != std::string::npos) {
    Library library = checkedLibrary(item.substr(equals + 1));
    problem = library.problem;
    return {name, library.path, ""};
  }
  if (name == "own") return {name, "", wanted.linked.empty() ? "libc.so.6" : wanted.linked};
  if (name == "glibc") return findGlibc(wanted);
  for (const Known& known : kKnown) {
    if (name == known.name) return findKnown(known, missing);
  }
  problem = fmt::format(
      "--against: '{}' is none of own, glibc, jemalloc, tcmalloc, mimalloc; for another "
      "library give {}=PATH",
      name, name);
  return {};
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> items;
  for (size_t begin = 0; begin <= text.size();) {
    size_t end = std::min(text.find(',', begin), text.size());
    if (end > begin) items.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return items;
}

}  // namespace

RuntimeList findRuntimes(const Wanted& wanted) {
  RuntimeList list;
  bool asked_for = !wanted.against.empty();
  std::string usual = wanted.linked.empty() ? "glibc,jemalloc" : "own,glibc,jemalloc";
  for (const std::string& item : split(asked_for ? wanted.against : usual)) {
    if (item == "graft") continue;
    std::string missing;
    Runtime runtime = findRuntime(wanted, item, missing, list.problem);
    if (!missing.empty() && asked_for) list.problem = missing;
    if (!list.problem.empty()) return list;
    if (!missing.empty()) {
      list.skipped.push_back(missing);
      continue;
    }
    for (const Runtime& other : list.runtimes) {
      if (other.name == runtime.name || runtime.name == "graft") {
        list.problem = fmt::format("--against: two runtimes are named '{}'", runtime.name);
        return list;
      }
    }
    list.runtimes.push_back(std::move(runtime));
  }
  if (list.runtimes.empty()) {
    list.problem = "nothing to compare graft with";
    if (!list.skipped.empty()) list.problem += fmt::format(": {}", list.skipped.front());
  }
  list.runtimes.push_back({"graft", wanted.graft_library, GRAFT_VERSION});
  return list;
}

std::string linkedMalloc(const std::vector<std::string>& needed) {
  for (const std::string& library : needed) {
    if (library != "libc.so.6" && !mallocOf(library).empty()) return library;
  }
  return "";
}

size_t baselineOf(const std::vector<Runtime>& runtimes) {
  for (const char* name : {"own", "glibc"}) {
    for (size_t i = 0; i < runtimes.size(); i++) {
      if (runtimes[i].name == name) return i;
    }
  }
  return 0;
}

std::string preloadOf(const Runtime& runtime, const char* current,
                      std::vector<std::string>& dropped) {
  std::string value = runtime.library;
  for (const std::string& item : preloadItems(current != nullptr ? current : "", false)) {
    if (item.find("libgraft.so") != std::string::npos || !mallocOf(item).empty()) {
      dropped.push_back(item);
      continue;
    }
    if (!value.empty()) value += ':';
    value += item;
  }
  return value;
}

}  // namespace graft::tools::compare
