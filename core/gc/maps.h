// What is mapped: /proc/self/maps, line by line, through inline system calls and a buffer of the
// caller's. Read while the world is stopped, so nothing of the program's changes under the reader.
// Any stack with room for the buffer elsewhere; no locks.
#pragma once

#include <stddef.h>

#include "core/base/types.h"

namespace graft::gc {

enum class MapKind : uint8_t {
  kAnon,  // memory without a file, named or not
  kStack,  // the first thread's stack
  kFile,  // a regular file
  kMemory,  // shared memory that has a name only: memfd, shm, System V, shared anonymous
  kDevice,  // reading it may do something
  kKernel,  // vvar, vdso, vsyscall
};

struct Mapping {
  Addr from = 0, to = 0;
  bool read = false, write = false, shared = false;
  MapKind kind = MapKind::kAnon;
  const char* hides =
      nullptr;  // it shows that the process hides pointers: how (core/base/hiders.h)
};

// One line without its newline. False: it is not understood.
bool parseMapping(const char* line, size_t n, Mapping& out);

class MapsReader {
 public:
  MapsReader(char* buffer, size_t size) : buffer_(buffer), size_(size) {}
  ~MapsReader();
  MapsReader(const MapsReader&) = delete;
  MapsReader& operator=(const MapsReader&) = delete;

  bool open();
  // False: at the end, or failed().
  bool next(Mapping& out);
  bool failed() const { return failed_; }

 private:
  bool refill();

  char* buffer_;
  size_t size_;
  size_t at_ = 0, have_ = 0;
  long fd_ = -1;
  bool failed_ = false, end_ = false;
};

}  // namespace graft::gc
