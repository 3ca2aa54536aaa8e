// Pointers that only the kernel holds: the data of epoll interests, the values that timers will
// deliver, and bytes that wait in pipes and local sockets, at any offset. They are read back from
// /proc, or looked at without being taken, while the world is stopped. See HZ-ROOTS and GC.md,
// section 5. The collector's thread; inline system calls, no locks.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace graft::gc {

// Words at any offset in bytes that come a piece at a time.
class ByteRoots {
 public:
  ByteRoots(void (*found)(void* arg, uint64_t word), void* arg) : found_(found), arg_(arg) {}
  void add(const char* bytes, size_t n);

 private:
  void (*found_)(void* arg, uint64_t word);
  void* arg_;
  uint64_t word_ = 0;  // the last eight bytes
  uint32_t have_ = 0;
};

class Siphon;

struct KernelRoots {
  char* text;  // a buffer for what /proc says, and for what waits in one socket
  size_t text_size;
  void (*found)(void* arg, uint64_t word);
  void* arg;
  // Null, or what could not be read.
  const char* read() const;

 private:
  const char* readDescriptor(long fd, Siphon& siphon) const;
  const char* readEpoll(long fd) const;
  const char* readSocket(long fd) const;
};

// The words in what /proc says of one epoll descriptor, and of the timers. For tests too.
void parseEpoll(const char* text, size_t n, void (*found)(void* arg, uint64_t word), void* arg);
void parseTimers(const char* text, size_t n, void (*found)(void* arg, uint64_t word), void* arg);

}  // namespace graft::gc
