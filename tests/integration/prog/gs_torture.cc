// Everything at once: threads that hand a turn around, allocate, create and join others that throw,
// fork children with threads of their own, wait for semaphores that a fast timer's handler posts,
// and get signals of their own meanwhile. Argument: seconds.
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

namespace {

constexpr int kPlayers = 6;

std::atomic<long> ticks{0}, received{0}, hits{0}, children{0}, created{0};
std::atomic<bool> stop{false};
sem_t sem;
std::mutex mutex;
std::condition_variable turned;
int turn = 0;

void fail(const char* what, long value) {
  printf("wrong: %s %ld\n", what, value);
  fflush(stdout);
  _exit(9);
}

void onTick(int) {
  int saved = errno;
  if (++ticks % 4 == 0) sem_post(&sem);
  errno = saved;
}

void play(int me) {
  while (!stop) {
    std::unique_lock<std::mutex> lock(mutex);
    turned.wait_for(lock, std::chrono::milliseconds(50), [me] { return turn == me || stop; });
    if (turn == me) {
      turn = (turn + 1) % kPlayers;
      hits++;
    }
    turned.notify_all();
  }
}

void allocate(unsigned seed) {
  while (!stop) {
    std::vector<std::pair<unsigned char*, size_t>> blocks;
    for (int i = 0; i < 50; i++) {
      size_t size = 1 + static_cast<size_t>(rand_r(&seed)) % 2000;
      auto* p = static_cast<unsigned char*>(malloc(size));
      memset(p, static_cast<int>(size), size);
      blocks.emplace_back(p, size);
    }
    for (auto& [p, size] : blocks) {
      if (p[size - 1] != static_cast<unsigned char>(size)) fail("a block was overwritten", p[0]);
      free(p);
    }
  }
}

void* thrower(void*) {
  try {
    throw std::runtime_error("thrown");
  } catch (const std::exception& e) {
    return strdup(e.what());
  }
}

void create() {
  while (!stop) {
    pthread_t t;
    if (pthread_create(&t, nullptr, thrower, nullptr) != 0) continue;
    void* text = nullptr;
    pthread_join(t, &text);
    if (strcmp(static_cast<char*>(text), "thrown") != 0) fail("a thread's result", 0);
    free(text);
    created++;
  }
}

void take() {
  while (!stop) sem_wait(&sem);
}

void forkAndWait() {
  while (!stop) {
    pid_t pid = fork();
    if (pid == 0) {
      std::thread([] { free(malloc(99)); }).join();
      _exit(3);
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0) {
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 3) fail("a child's status", status);
    children++;
    usleep(2000);
  }
}

void install(int signal, void (*handler)(int)) {
  struct sigaction act = {};
  act.sa_handler = handler;
  act.sa_flags = SA_RESTART;
  sigaction(signal, &act, nullptr);
}

}  // namespace

int main(int argc, char** argv) {
  int seconds = argc > 1 ? atoi(argv[1]) : 3;
  sem_init(&sem, 0, 0);
  install(SIGALRM, onTick);
  install(SIGUSR1, [](int) { received++; });
  std::vector<std::thread> all;
  for (int i = 0; i < kPlayers; i++) all.emplace_back(play, i);
  for (unsigned i = 0; i < 3; i++) all.emplace_back(allocate, i);
  for (int i = 0; i < 2; i++) all.emplace_back(create);
  all.emplace_back(take);
  all.emplace_back(forkAndWait);
  itimerval every = {{0, 300}, {0, 300}}, never = {};
  setitimer(ITIMER_REAL, &every, nullptr);
  for (int i = 0; i < seconds * 200; i++) {
    usleep(5000);
    pthread_kill(all[0].native_handle(), SIGUSR1);
  }
  stop = true;
  turned.notify_all();
  sem_post(&sem);
  for (std::thread& t : all) t.join();
  setitimer(ITIMER_REAL, &never, nullptr);
  printf("turns %d ticks %d signals %d children %d threads %d\n", hits > 20, ticks > 100,
         received > 10, children > 2, created > 2);
  return 0;
}
