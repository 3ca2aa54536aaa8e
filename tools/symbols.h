// Names code addresses of a process, which may have ended: function, source line and module, with
// the functions that the compiler inlined there. Symbols and lines come from the files that the
// process has or had mapped, through libdw; of the process only its map is read.
#pragma once

#include <elfutils/libdwfl.h>
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace graft::tools {

struct Place {
  uint64_t pc = 0;
  std::string function;  // demangled; "" when unknown
  uint64_t offset = 0;  // from the function's begin
  std::string file;  // source; "" when unknown
  int line = 0, column = 0;
  std::string module;  // the mapped file
  uint64_t module_offset = 0;  // the address as the module's own tables have it
  bool inlined = false;  // into the next one
};

class Symbols {
 public:
  Symbols() = default;
  ~Symbols();
  Symbols(const Symbols&) = delete;
  Symbols& operator=(const Symbols&) = delete;

  // "" or why the files cannot be read. One of the two, once.
  std::string openProcess(pid_t pid);
  std::string openMaps(const std::string& maps);  // the text of /proc/PID/maps

  // Of an address within an instruction: for a return address, one less.
  Place name(uint64_t at) const;
  // The same with what was inlined there, innermost first; never empty.
  std::vector<Place> inlined(uint64_t at) const;

  Dwfl* dwfl() const { return dwfl_; }

 private:
  std::string begin();

  char* debug_path_ = nullptr;
  Dwfl_Callbacks files_{};
  Dwfl* dwfl_ = nullptr;
};

}  // namespace graft::tools
