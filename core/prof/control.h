// The control socket: by it a process answers questions about itself, without ptrace, from a thread
// of graft's own that exists only where GRAFT_CONTROL asks for it and the program has made a
// thread. One file per process, FOLDER/PID.sock, for the same user and root.
//
//   request   one line of text, at most 255 bytes: a command of `commands` and its argument
//   reply     lines of JSON, where in the reply to `stack` a line with "bytes": N is followed by N
//             bytes as they are; then `ok`; or a line `error: ...` alone
//
// One client at a time; one that says nothing for some seconds is dropped. wanted(), stop():
// threads of the program, outside signal handlers; the others as they say. The thread makes inline
// system calls only, reads no thread variable and takes no lock of the heap's, so fork may leave it
// behind at any instant (HZ-FORK): the child has none until it makes a thread.
#pragma once

#include <sys/un.h>

#include "core/base/format.h"
#include "core/os/mutex.h"
#include "core/os/thread.h"

namespace graft::prof {

// What a command writes. Failing to write is noticed at the end; the client is gone then.
class Reply {
 public:
  explicit Reply(int fd) : fd_(fd) {}
  void line(base::Line& text);  // adds the newline, and clears it
  void raw(const char* data, size_t n);
  bool failed() const { return failed_; }

 private:
  void flush();
  friend class Control;

  int fd_;
  bool failed_ = false;
  size_t used_ = 0;
  char buffer_[2048];
};

class Control {
 public:
  struct Command {
    const char* name;
    // Null: done. Else what is wrong, as one line without its newline; nothing was written then.
    const char* (*run)(const char* argument, Reply& reply);
  };

  constexpr Control() = default;

  // Process start: `where` is the option, runtime_dir XDG_RUNTIME_DIR or null. commands ends with a
  // row without a name.
  void init(const char* where, const char* runtime_dir, const Command* commands);
  // A thread is about to be made: begins to serve, once. Says so in one line if it cannot.
  void wanted() {
    if (__builtin_expect(asked(), 0) && !serving()) start();
  }
  // Ends the thread and removes the file; wanted() may start it again, unless forever.
  void stop(bool forever = false);
  void leave();  // process exit: removes the file
  void forkChild();
  bool asked() const { return folder_[0] != '\0'; }
  bool serving() const { return state_.loadRelaxed() == kServing; }
  uint32_t threadId() const { return thread_.tid.loadAcquire(); }

 private:
  static constexpr uint32_t kNone = 0, kServing = 1;
  static constexpr size_t kMostPath = 100;  // sun_path holds 108

  struct Socket {
    int fd = 0;
    uint64_t inode = 0;  // 0: none; the program may have closed the descriptor and use its number
    bool ours() const;
    void set(int fd);
    void close();
  };

  void start();
  const char* makeFolder();
  const char* listen();
  void say(const char* problem);
  static void entry(void* self);
  void run();
  void serve(int fd);
  bool answer(char* request, size_t n, Reply& reply);

  char folder_[kMostPath] = {};
  const Command* commands_ = nullptr;
  os::Mutex mu_;  // start and stop; a leaf
  base::Atomic<uint32_t> state_{kNone};
  base::Atomic<uint32_t> stop_{0};
  uint32_t pid_ = 0;
  sockaddr_un name_{};
  Socket listener_, client_;
  os::HelperThread thread_{};
};

}  // namespace graft::prof
