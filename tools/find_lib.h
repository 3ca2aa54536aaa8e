// Finds libgraft.so and builds the LD_PRELOAD value that loads it first. Shared by the sub-commands
// that start programs; reads the environment and the file system, changes nothing.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace graft::tools {

struct Library {
  std::string path;  // absolute
  std::string problem;  // not empty: not usable, and why, in one line
};

// `explicit_path` (--lib) if not empty, else GRAFT_LIB, else beside the `graft` executable, else in
// ../lib/graft or ../lib from there.
Library findLibrary(const std::string& explicit_path);

// Any other library that is to be preloaded: made absolute, and judged as the loader will.
Library checkedLibrary(const std::string& path);

// The file that the loader finds for an item of LD_PRELOAD, by LD_LIBRARY_PATH and the usual
// folders;
// "" if there is none.
std::string findLibraryFile(const std::string& item);

// The items of an LD_PRELOAD value or of /etc/ld.so.preload; `in_file` also splits at newlines and
// tabs and drops comments.
std::vector<std::string> preloadItems(std::string_view text, bool in_file);

// LD_PRELOAD for the child: `library` first, then what was there, without another libgraft.so.
std::string preloadWith(const std::string& library, const char* current);

}  // namespace graft::tools
