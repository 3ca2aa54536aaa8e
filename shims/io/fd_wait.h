// A G that waits for a descriptor. Natively a thread in a system call holds on to the open file:
// another may close the number, even open something else under it, and the call goes on with what
// it began with. A parked G is in no system call, so it is on a list, and whoever closes or
// replaces a number on which somebody waits (fdCloses) first gives the waiters a number of their
// own for the same file.
//
// In user code of a G, and in a signal handler that ran there a cancellation may unwind it: a
// cleanup handler takes it off the list. Locks: one per group of numbers, a leaf.
#pragma once

#include "shims/sync/waits.h"

namespace graft::shims {

// Netpoll::Slot::facts.
namespace fact {
inline constexpr uint32_t kKind = 3;  // io.cc's: how it is tried
inline constexpr uint32_t kWaits = 4;  // no O_NONBLOCK
inline constexpr uint32_t kLimited = 8;  // SO_RCVTIMEO or SO_SNDTIMEO is set
inline constexpr uint32_t kWritesDirect = 16;  // io.cc's: writes cannot be tried
inline constexpr uint32_t kChangesShift = 8;  // above: as of which descriptorsChange()
}  // namespace fact

// On the list of the waiters for a number, and the file that it had when the call began.
class FdHold {
 public:
  explicit FdHold(int fd) : fd_(fd), number_(fd) {}
  FdHold(const FdHold&) = delete;
  FdHold& operator=(const FdHold&) = delete;

  int fd() const { return fd_.loadRelaxed(); }  // of that file
  int number() const { return number_; }  // which the program gave
  void enlist();
  void delist();

 private:
  friend void fdCloses(sched::Sched& s, int fd);
  friend unsigned firstOfWaiters(unsigned first, unsigned last);

  base::Atomic<int> fd_;
  const int number_;
  FdHold* next_ = nullptr;
  FdHold* prev_ = nullptr;
};

class FdWait {
 public:
  using Direction = sched::Netpoll::Direction;
  // A transfer minds O_NONBLOCK, the socket's own time limit, and SA_RESTART; a poll does not.
  enum class Kind : uint8_t { kTransfer, kSocketTransfer, kPoll };
  FdWait(sched::Sched& s, int fd, Direction direction, Kind kind);
  ~FdWait();
  FdWait(const FdWait&) = delete;
  FdWait& operator=(const FdWait&) = delete;

  int fd() const { return hold_.fd(); }
  void setDeadline(const timespec& at);  // CLOCK_MONOTONIC
  // Before each look at the descriptor.
  void look() { seen_ = slot_ != nullptr ? slot_->moved[direction_].loadAcquire() : 0; }

  enum class Then { kLookAgain, kGiveUp, kBlock };
  bool begun() const { return begun_; }
  bool interrupted() const { return sched::currentG()->handled != handled_; }
  Then begin();  // wait() does it, too
  // After a look that found nothing. kGiveUp: `error` says why. kBlock: make the call as it is, it
  // may sleep in the kernel.
  Then wait();
  int error() const { return error_; }

 private:
  static void unwound(void* self);
  bool knows(uint32_t fact) const;
  bool mayWait();
  bool isDatagram() const;
  bool limitOf(int option) const;
  bool readTimeout();

  sched::Sched& s_;
  sched::Netpoll::Slot* slot_;
  FdHold hold_;
  const Direction direction_;
  const Kind kind_;
  bool begun_ = false, waiting_ = false, has_deadline_ = false, known_ = false;
  int error_ = 0;
  int wakes_ = 0;
  uint32_t seen_ = 0;
  const uint32_t handled_ = sched::currentG()->handled;  // handlers that had run
  timespec deadline_{};
  _pthread_cleanup_buffer on_cancel_{};
};

// fd is about to be closed or replaced.
void fdCloses(sched::Sched& s, int fd);
void fdRangeCloses(sched::Sched& s, unsigned first, unsigned last);
// The lowest number in this range that is a waiter's own; ~0: none.
unsigned firstOfWaiters(unsigned first, unsigned last);
// O_NONBLOCK or a time limit of some open file has changed: it may have other numbers, too.
void descriptorsChange();
// In the child of fork: nobody waits.
void forkChildIo();

}  // namespace graft::shims
