// What a program does with threads, one subject per argument: the output must be the same whether
// threads are kernel threads or Gs. Every subject checks its own sums and prints them.
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

void must(bool good, const char* what) {
  if (good) return;
  printf("wrong: %s\n", what);
  fflush(stdout);
  _exit(9);
}
#define MUST(x) must((x), #x)

void* plusOne(void* p) { return static_cast<char*>(p) + 1; }

void create(int n) {
  long sum = 0;
  for (long i = 0; i < n; i++) {
    pthread_t t;
    void* result = nullptr;
    MUST(pthread_create(&t, nullptr, plusOne, reinterpret_cast<void*>(i)) == 0);
    MUST(pthread_join(t, &result) == 0);
    sum += reinterpret_cast<long>(result);
  }
  std::vector<pthread_t> many(1000);
  for (pthread_t& t : many) {
    MUST(pthread_create(&t, nullptr, plusOne, reinterpret_cast<void*>(long{1})) == 0);
  }
  for (pthread_t& t : many) {
    void* result = nullptr;
    MUST(pthread_join(t, &result) == 0);
    sum += reinterpret_cast<long>(result);
  }
  printf("sum %ld\n", sum);
}

std::atomic<int> done{0};

void detach() {
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  auto body = [](void*) -> void* {
    done++;
    return nullptr;
  };
  for (int i = 0; i < 5000; i++) {
    pthread_t t;
    bool by_attr = i % 2 == 0;
    int error;
    while ((error = pthread_create(&t, by_attr ? &attr : nullptr, body, nullptr)) == EAGAIN) {
      sched_yield();
    }
    MUST(error == 0);
    if (!by_attr) MUST(pthread_detach(t) == 0);
  }
  while (done < 5000) usleep(1000);
  printf("detached %d\n", done.load());
}

sem_t go_on;

void errors() {
  sem_init(&go_on, 0, 0);
  auto wait = [](void*) -> void* {
    sem_wait(&go_on);
    return nullptr;
  };
  pthread_t t;
  MUST(pthread_create(&t, nullptr, wait, nullptr) == 0);
  timespec at{};
  clock_gettime(CLOCK_REALTIME, &at);
  printf("self %d try %d timed %d\n", pthread_join(pthread_self(), nullptr),
         pthread_tryjoin_np(t, nullptr), pthread_timedjoin_np(t, nullptr, &at));
  sem_post(&go_on);
  at.tv_sec += 20;
  printf("timed %d\n", pthread_timedjoin_np(t, nullptr, &at));
  MUST(pthread_create(&t, nullptr, wait, nullptr) == 0);
  int first = pthread_detach(t), again = pthread_detach(t), join = pthread_join(t, nullptr);
  printf("detach %d again %d join %d\n", first, again, join);
  sem_post(&go_on);
}

struct Noisy {
  int* at;
  ~Noisy() { *at += 1; }
};
int destroyed[3];

thread_local std::string text = "initial";
pthread_key_t key;
int key_runs;

void tls() {
  pthread_key_create(&key, [](void* v) {
    key_runs++;
    long n = reinterpret_cast<long>(v);
    if (n > 1) pthread_setspecific(key, reinterpret_cast<void*>(n - 1));
  });
  std::thread t([] {
    thread_local Noisy a{&destroyed[0]};
    MUST(a.at == &destroyed[0] && text == "initial");
    text = "changed";
    pthread_setspecific(key, reinterpret_cast<void*>(3L));
    errno = 77;
    std::thread inner([] { MUST(errno == 0 && text == "initial"); });
    inner.join();
    MUST(errno == 77 && text == "changed");
  });
  t.join();
  pthread_t u;
  auto leaves = [](void*) -> void* {
    Noisy b{&destroyed[1]};
    thread_local Noisy c{&destroyed[2]};
    MUST(c.at != nullptr);
    pthread_exit(reinterpret_cast<void*>(5L));
  };
  void* result = nullptr;
  MUST(pthread_create(&u, nullptr, leaves, nullptr) == 0 && pthread_join(u, &result) == 0);
  printf("destroyed %d %d %d, key %d, result %ld\n", destroyed[0], destroyed[1], destroyed[2],
         key_runs, reinterpret_cast<long>(result));
}

void exceptions() {
  std::vector<std::thread> all;
  std::atomic<int> caught{0};
  for (int i = 0; i < 16; i++) {
    all.emplace_back([&caught, i] {
      for (int k = 0; k < 200; k++) {
        try {
          try {
            throw std::runtime_error(std::to_string(i * 1000 + k));
          } catch (...) {
            sched_yield();  // another thread throws meanwhile
            throw;
          }
        } catch (const std::exception& e) {
          caught += atoi(e.what()) == i * 1000 + k;
        }
      }
    });
  }
  for (std::thread& t : all) t.join();
  printf("caught %d\n", caught.load());
}

void loading(const char* library) {
  std::vector<std::thread> all;
  std::atomic<int> good{0};
  for (int i = 0; i < 20; i++) {
    all.emplace_back([&good, library] {
      for (int k = 0; k < 10; k++) {
        void* handle = dlopen(library, RTLD_NOW);
        MUST(handle != nullptr);
        auto* next = reinterpret_cast<int (*)()>(dlsym(handle, "next_value"));
        MUST(next != nullptr);
        int first = next();
        sched_yield();
        good += next() == first + 1;
        dlclose(handle);
      }
    });
  }
  for (std::thread& t : all) t.join();
  printf("loaded %d\n", good.load());
}

int childWork() {
  long sum = 0;
  for (long i = 0; i < 200; i++) {
    pthread_t t;
    void* result = nullptr;
    if (pthread_create(&t, nullptr, plusOne, reinterpret_cast<void*>(i)) != 0) return 1;
    if (pthread_join(t, &result) != 0) return 2;
    sum += reinterpret_cast<long>(result);
    free(malloc(static_cast<size_t>(i) * 100));
  }
  return sum == 200 * 201 / 2 ? 42 : 3;
}

void forks() {
  std::atomic<bool> stop{false};
  std::vector<std::thread> noise;
  for (int i = 0; i < 4; i++) {
    noise.emplace_back([&stop] {
      while (!stop) {
        free(malloc(100));
        sched_yield();
      }
    });
  }
  int good = 0;
  std::thread forker([&good] {
    for (int i = 0; i < 20; i++) {
      pid_t pid = fork();
      if (pid == 0) exit(childWork());
      int status = 0;
      MUST(waitpid(pid, &status, 0) == pid);
      good += WIFEXITED(status) && WEXITSTATUS(status) == 42;
    }
  });
  forker.join();
  // A child whose only thread leaves through pthread_exit, or returns from its thread function.
  for (int how = 0; how < 2; how++) {
    std::thread once([&good, how] {
      pid_t pid = fork();
      if (pid == 0) {
        if (how == 0) pthread_exit(nullptr);
        return;
      }
      int status = 0;
      waitpid(pid, &status, 0);
      good += WIFEXITED(status) && WEXITSTATUS(status) == 0;
    });
    once.join();
  }
  stop = true;
  for (std::thread& t : noise) t.join();
  printf("children %d\n", good);
}

void exitOther() {
  std::thread t([] {
    printf("leaving\n");
    exit(7);
  });
  for (;;) pause();
}

void mainExit() {
  std::thread([] {
    usleep(20'000);
    printf("the last one\n");
  }).detach();
  pthread_exit(nullptr);
}

pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t turned = PTHREAD_COND_INITIALIZER;
int turn;

void pingPong() {
  constexpr int kPlayers = 5, kRounds = 2000;
  std::vector<std::thread> all;
  long hits = 0;
  for (int me = 0; me < kPlayers; me++) {
    all.emplace_back([me, &hits] {
      for (int i = 0; i < kRounds; i++) {
        pthread_mutex_lock(&mutex);
        while (turn != me) pthread_cond_wait(&turned, &mutex);
        hits++;
        turn = (me + 1) % kPlayers;
        pthread_cond_broadcast(&turned);
        pthread_mutex_unlock(&mutex);
      }
    });
  }
  for (std::thread& t : all) t.join();
  printf("hits %ld\n", hits);
}

// Every thread sits in a read() that nobody but another thread can end.
void pipes() {
  constexpr int kThreads = 64;
  static int ends[kThreads][2];
  for (auto& e : ends) MUST(pipe(e) == 0);
  std::vector<std::thread> all;
  std::atomic<long> sum{0};
  for (int i = 0; i < kThreads; i++) {
    all.emplace_back([i, &sum] {
      for (int round = 0; round < 5; round++) {
        char c = 0;
        MUST(read(ends[i][0], &c, 1) == 1);
        sum += c;
        if (i + 1 < kThreads) MUST(write(ends[i + 1][1], &c, 1) == 1);
      }
    });
  }
  for (int round = 0; round < 5; round++) {
    char c = static_cast<char>(round + 1);
    MUST(write(ends[0][1], &c, 1) == 1);
  }
  for (std::thread& t : all) t.join();
  printf("sum %ld\n", sum.load());
}

// Spinning threads on every CPU must not keep others from running.
void spin() {
  std::atomic<int> stage{0};
  std::vector<std::thread> all;
  for (int i = 0; i < 4; i++) {
    all.emplace_back([&stage] {
      while (stage < 8) {
      }
    });
  }
  for (int i = 0; i < 8; i++) {
    all.emplace_back([&stage, i] {
      while (stage != i) usleep(100);
      stage++;
    });
  }
  for (std::thread& t : all) t.join();
  printf("stage %d\n", stage.load());
}

void c11() {
  thrd_t t;
  int result = 0;
  auto body = [](void* p) -> int {
    timespec ms{0, 1'000'000};
    thrd_sleep(&ms, nullptr);
    thrd_yield();
    return *static_cast<int*>(p) - 1;
  };
  int value = -5;
  MUST(thrd_create(&t, body, &value) == thrd_success);
  MUST(thrd_join(t, &result) == thrd_success);
  auto leaves = [](void*) -> int { thrd_exit(12); };
  int left = 0;
  MUST(thrd_create(&t, leaves, nullptr) == thrd_success);
  MUST(thrd_join(t, &left) == thrd_success);
  printf("c11 %d %d\n", result, left);
}

void stacks() {
  pthread_attr_t attr, got;
  pthread_attr_init(&attr);
  pthread_attr_setstacksize(&attr, 256 * 1024);
  pthread_attr_setguardsize(&attr, 8192);
  auto ask = [](void* out) -> void* {
    MUST(pthread_getattr_np(pthread_self(), static_cast<pthread_attr_t*>(out)) == 0);
    void* low = nullptr;
    size_t size = 0;
    pthread_attr_getstack(static_cast<pthread_attr_t*>(out), &low, &size);
    char here;
    MUST(&here > low && &here < static_cast<char*>(low) + size);
    return nullptr;
  };
  pthread_t t;
  void* low = nullptr;
  size_t size = 0, guard = 0;
  MUST(pthread_create(&t, &attr, ask, &got) == 0 && pthread_join(t, nullptr) == 0);
  pthread_attr_getstack(&got, &low, &size);
  pthread_attr_getguardsize(&got, &guard);
  printf("size %zu guard %zu\n", size, guard);
  pthread_attr_destroy(&got);
  static char own[128 * 1024] __attribute__((aligned(4096)));
  pthread_attr_setstack(&attr, own, sizeof own);
  MUST(pthread_create(&t, &attr, ask, &got) == 0 && pthread_join(t, nullptr) == 0);
  pthread_attr_getstack(&got, &low, &size);
  printf("own %d size %zu\n", low == own, size);
  pthread_attr_destroy(&got);
  MUST(pthread_create(&t, nullptr, ask, &got) == 0 && pthread_join(t, nullptr) == 0);
  pthread_attr_getstack(&got, &low, &size);
  pthread_attr_getguardsize(&got, &guard);
  printf("default %zu guard %zu\n", size, guard);
  pthread_attr_destroy(&got);
}

}  // namespace

int main(int argc, char** argv) {
  setvbuf(stdout, nullptr, _IOLBF, 0);
  std::string what = argc > 1 ? argv[1] : "";
  if (what == "create") create(100'000);
  if (what == "detach") detach();
  if (what == "errors") errors();
  if (what == "tls") tls();
  if (what == "exceptions") exceptions();
  if (what == "loading") loading(argv[2]);
  if (what == "forks") forks();
  if (what == "exit-other") exitOther();
  if (what == "main-exit") mainExit();
  if (what == "ping-pong") pingPong();
  if (what == "pipes") pipes();
  if (what == "spin") spin();
  if (what == "c11") c11();
  if (what == "stacks") stacks();
  return 0;
}
