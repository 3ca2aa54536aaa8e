// Many short-lived thread blocks on two kernel threads, each doing something that libc keeps state
// for, while others fork, load and unload a library with TLS, throw and leave by pthread_exit.
// Every G checks at its end that what is its own still is. Ends after --seconds; any difference is
// a failure, and so is a child that does not come back.
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <string>

#include "tests/unit/glibc/tiny_sched.h"

namespace {

using graft::glibc::ThreadBlock;
using graft::glibc::ThreadSpec;
using graft::glibc::test::G;
using graft::glibc::test::Sched;
using graft::glibc::test::self;

constexpr uint32_t kMostLive = 100;

std::atomic<uint64_t> wrong{0}, ended{0}, forks{0}, loads{0}, exits{0};
std::atomic<int64_t> objects{0};
pthread_key_t key;

struct Object {
  std::string text = "initial";
  Object() { objects++; }
  ~Object() { objects--; }
};
thread_local Object object;
thread_local int number = 41;

void check(bool ok, const char* what) {
  if (ok) return;
  if (wrong++ < 10) fprintf(stderr, "wrong: %s\n", what);
}

[[gnu::noinline]] int deep(int n) {
  volatile char frame[500];
  frame[0] = static_cast<char>(n);
  if (n == 0) {
    Sched::yield();
    return 0;
  }
  return deep(n - 1) + frame[0] - frame[0];
}

void throwAround(int id) {
  try {
    try {
      Sched::yield();
      throw std::runtime_error(std::to_string(id));
    } catch (std::exception& e) {
      Sched::yield();
      check(e.what() == std::to_string(id), "exception");
      throw;
    }
  } catch (std::runtime_error& e) {
    check(e.what() == std::to_string(id), "rethrown exception");
  }
}

void loadLibrary() {
  void* library = dlopen(TLS_DYNAMIC, RTLD_NOW);
  check(library != nullptr, "dlopen");
  if (library == nullptr) return;
  auto* value = reinterpret_cast<long* (*)()>(dlsym(library, "tls_value"));
  long* mine = value();
  check(*mine == 0x5ca1ab1e, "initial value of a library's thread variable");
  *mine = 5;
  Sched::yield();
  check(value() == mine && *mine == 5, "a library's thread variable");
  dlclose(library);
  loads++;
}

// The child makes threads of its own out of the blocks of the parent's.
[[noreturn]] void child(ThreadBlock* block, pthread_t me) {
  graft::glibc::resetAfterFork(block);
  alarm(30);
  if (pthread_self() != me) _exit(1);
  std::atomic<int> ran{0};
  auto* sched = new Sched(1);
  for (int i = 0; i < 20; i++) {
    sched->spawn([&]() -> void* {
      if (number == 41 && object.text == "initial") ran++;
      Sched::yield();
      return nullptr;
    });
  }
  sched->wait();
  _exit(ran == 20 ? 0 : 2);
}

void forkOnce() {
  ThreadBlock* block = self->block;
  pthread_t me = pthread_self();
  pid_t pid = fork();
  if (pid == 0) child(block, me);
  int status = -1;
  waitpid(pid, &status, 0);
  check(status == 0, "forked child");
  forks++;
}

void* body(int id) {
  check(number == 41 && object.text == "initial" && errno == 0, "fresh thread variables");
  check(pthread_getspecific(key) == nullptr, "fresh key");
  number = id;
  object.text = std::to_string(id) + std::string(40, 'x');
  pthread_setspecific(key, &object);
  errno = id % 100;
  void* memory = malloc(static_cast<size_t>(id % 5000));
  Sched::yield();
  if (id % 3 == 0) throwAround(id);
  if (id % 5 == 0) check(deep(100) == 0, "deep stack");
  if (id % 37 == 0) loadLibrary();
  if (id % 701 == 0) forkOnce();
  free(memory);
  Sched::yield();
  check(number == id, "thread_local int");
  check(object.text == std::to_string(id) + std::string(40, 'x'), "thread_local object");
  check(pthread_getspecific(key) == &object, "key");
  check(pthread_self() == self->block->thread(), "pthread_self");
  ended++;
  if (id % 4 == 0) {
    exits++;
    pthread_exit(&wrong);
  }
  return &wrong;
}

int run(int seconds) {
  pthread_key_create(&key, [](void* v) { check(v != nullptr, "key destructor"); });
  Sched sched(2);
  time_t end = time(nullptr) + seconds;
  char* user = static_cast<char*>(
      mmap(nullptr, 64 << 10, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  uint64_t made = 0;
  G* on_user_stack = nullptr;
  for (int id = 1; time(nullptr) < end && wrong == 0; id++) {
    while (sched.live() >= kMostLive) usleep(100);
    if (id % 1000 == 0) {
      if (on_user_stack != nullptr && on_user_stack->done) on_user_stack = nullptr;
      sched.reap();
      graft::glibc::trimIdle(static_cast<size_t>(id / 1000 % 50));
    }
    ThreadSpec spec;
    spec.stack_size = size_t{64 << 10} << (id % 8);
    spec.guard_size = id % 11 == 0 ? 64 << 10 : 4096;
    if (id % 13 == 0 && on_user_stack == nullptr) {
      spec.stack_size = 64 << 10;
      spec.user_stack = user;
    }
    G* g = sched.spawn([id] { return body(id); }, spec);
    if (spec.user_stack != nullptr) on_user_stack = g;
    made++;
  }
  sched.wait();
  check(objects == 0, "every thread_local object was destroyed");
  check(wrong != 0 || ended == made, "every G came to its end");
  graft::glibc::BlockStats stats = graft::glibc::blockStats();
  printf("glibc_stress: %s, %lu Gs, %lu slots, %lu recycled, %lu forks, %lu loads, %lu exits\n",
         wrong == 0 ? "ok" : "FAIL", made, stats.slots, stats.recycled, forks.load(), loads.load(),
         exits.load());
  return wrong == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  int seconds = argc == 3 && strcmp(argv[1], "--seconds") == 0 ? atoi(argv[2]) : 5;
  if (!graft::glibc::calibrate()) {
    printf("skipped: %s\n", graft::glibc::whyNotCalibrated());
    return 77;
  }
  return run(seconds);
}
