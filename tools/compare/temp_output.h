// A nameless temporary file that takes what a process prints and is read after it has ended: nobody
// has to read along, and it is gone with its descriptor. Single-threaded.
#pragma once

#include <cstdio>
#include <memory>
#include <string>

#include "tools/compare/measures.h"

namespace graft::tools::compare {

class TempOutput {
 public:
  TempOutput();  // throws if there is no place for it
  int fd() const { return fileno(file_.get()); }
  Output hashed() const;
  std::string text(size_t most) const;  // its last `most` bytes
  std::string lastLine() const;  // without the line end, cut to a bound

 private:
  std::unique_ptr<FILE, int (*)(FILE*)> file_;
};

}  // namespace graft::tools::compare
