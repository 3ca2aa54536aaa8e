// What threads cost: creating and joining, handing over by condition variable, semaphore and ring,
// yielding, mutexes alone and contended, a barrier, and many threads that only wait. Plain
// pthreads, so that the same program runs on kernel threads and, with libgraft.so preloaded and
// GRAFT_THREADS=m:n, on Gs; threads.go is its counterpart. See run.py.
//
//   threads NAME COUNT     prints one line of JSON: ns per operation, and memory where that matters
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace {

double now() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

void must(int error, const char* what) {
  if (error == 0) return;
  fprintf(stderr, "%s: %s\n", what, strerror(error));
  exit(1);
}

// A line of /proc/self/status in KiB.
long statusKiB(const char* name) {
  FILE* file = fopen("/proc/self/status", "r");
  char line[256];
  long value = 0;
  while (file != nullptr && fgets(line, sizeof line, file) != nullptr) {
    if (strncmp(line, name, strlen(name)) == 0) value = atol(line + strlen(name) + 1);
  }
  if (file != nullptr) fclose(file);
  return value;
}

using Body = std::function<void()>;

void* call(void* body) {
  (*static_cast<Body*>(body))();
  return nullptr;
}

void* nothing(void* argument) { return argument; }

// Runs `bodies` as threads to their end.
void together(std::vector<Body> bodies) {
  std::vector<pthread_t> threads(bodies.size());
  for (size_t i = 0; i < bodies.size(); i++) {
    must(pthread_create(&threads[i], nullptr, call, &bodies[i]), "pthread_create");
  }
  for (pthread_t t : threads) pthread_join(t, nullptr);
}

struct Event {
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
};

void createJoin(long n) {
  for (long i = 0; i < n; i++) {
    pthread_t t;
    must(pthread_create(&t, nullptr, nothing, nullptr), "pthread_create");
    pthread_join(t, nullptr);
  }
}

void batch(long n) {
  std::vector<pthread_t> threads(1000);
  for (long done = 0; done < n; done += 1000) {
    for (pthread_t& t : threads) must(pthread_create(&t, nullptr, nothing, nullptr), "create");
    for (pthread_t t : threads) pthread_join(t, nullptr);
  }
}

// Each turn is one hand-over.
void cond(long n) {
  Event e;
  long turn = 0;
  auto player = [&](long me) {
    pthread_mutex_lock(&e.mutex);
    while (turn < n) {
      if (turn % 2 == me) {
        turn++;
        pthread_cond_signal(&e.cond);
      } else {
        pthread_cond_wait(&e.cond, &e.mutex);
      }
    }
    pthread_cond_signal(&e.cond);
    pthread_mutex_unlock(&e.mutex);
  };
  together({[&] { player(0); }, [&] { player(1); }});
}

void sem(long n) {
  sem_t a, b;
  sem_init(&a, 0, 0);
  sem_init(&b, 0, 0);
  auto player = [&](sem_t* mine, sem_t* other) {
    for (long i = 0; i < n / 2; i++) {
      sem_wait(mine);
      sem_post(other);
    }
  };
  sem_post(&a);
  together({[&] { player(&a, &b); }, [&] { player(&b, &a); }});
}

// A token goes round among 100 threads that each wait for their own condition.
void ring(long n) {
  struct Place : Event {
    bool token = false;
  };
  constexpr size_t kPlaces = 100;
  std::vector<Place> places(kPlaces);
  std::vector<Body> bodies;
  long laps = n / static_cast<long>(kPlaces);
  for (size_t i = 0; i < kPlaces; i++) {
    bodies.push_back([&, i] {
      Place &mine = places[i], &next = places[(i + 1) % kPlaces];
      for (long lap = 0; lap < laps; lap++) {
        pthread_mutex_lock(&mine.mutex);
        while (!mine.token) pthread_cond_wait(&mine.cond, &mine.mutex);
        mine.token = false;
        pthread_mutex_unlock(&mine.mutex);
        pthread_mutex_lock(&next.mutex);
        next.token = true;
        pthread_cond_signal(&next.cond);
        pthread_mutex_unlock(&next.mutex);
      }
    });
  }
  places[0].token = true;
  together(std::move(bodies));
}

// All four are there before the first yields: alone there is nobody to yield to.
void yield(long n) {
  pthread_barrier_t all;
  pthread_barrier_init(&all, nullptr, 4);
  auto body = [&] {
    pthread_barrier_wait(&all);
    for (long i = 0; i < n / 4; i++) sched_yield();
  };
  together({body, body, body, body});
}

// A second thread is alive, so that no lock is left out for want of one.
void uncontended(long n) {
  pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
  sem_t end;
  sem_init(&end, 0, 0);
  together({[&] { sem_wait(&end); },
            [&] {
              for (long i = 0; i < n; i++) {
                pthread_mutex_lock(&m);
                pthread_mutex_unlock(&m);
              }
              sem_post(&end);
            }});
}

void contended(long n) {
  alignas(64) pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
  alignas(64) long sum = 0;
  auto body = [&] {
    for (long i = 0; i < n / 4; i++) {
      pthread_mutex_lock(&m);
      sum++;
      pthread_mutex_unlock(&m);
    }
  };
  together({body, body, body, body});
  if (sum != n / 4 * 4) must(EINVAL, "the mutex let two in");
}

void barrier(long n) {
  pthread_barrier_t b;
  pthread_barrier_init(&b, nullptr, 8);
  auto body = [&] {
    for (long i = 0; i < n / 8; i++) pthread_barrier_wait(&b);
  };
  together(std::vector<Body>(8, body));
}

// n threads with default attributes (or stacks of 64 KiB) that all wait at once; the time is until
// the last one waits.
void parked(long n, bool small_stacks) {
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  if (small_stacks) pthread_attr_setstacksize(&attr, 64 << 10);
  Event e;
  long waiting = 0;
  bool go = false;
  Body body = [&] {
    pthread_mutex_lock(&e.mutex);
    if (++waiting == n) pthread_cond_broadcast(&e.cond);
    while (!go) pthread_cond_wait(&e.cond, &e.mutex);
    pthread_mutex_unlock(&e.mutex);
  };
  long rss = statusKiB("VmRSS"), tables = statusKiB("VmPTE");
  double start = now();
  std::vector<pthread_t> threads(static_cast<size_t>(n));
  for (pthread_t& t : threads) must(pthread_create(&t, &attr, call, &body), "pthread_create");
  pthread_mutex_lock(&e.mutex);
  while (waiting < n) pthread_cond_wait(&e.cond, &e.mutex);
  double seconds = now() - start;
  double kib = static_cast<double>(statusKiB("VmRSS") - rss + statusKiB("VmPTE") - tables);
  go = true;
  pthread_cond_broadcast(&e.cond);
  pthread_mutex_unlock(&e.mutex);
  for (pthread_t t : threads) pthread_join(t, nullptr);
  printf("{\"ns\": %.1f, \"seconds\": %.3f, \"kib_each\": %.2f}\n",
         seconds * 1e9 / static_cast<double>(n), seconds, kib / static_cast<double>(n));
}

}  // namespace

int main(int argc, char** argv) {
  const std::map<std::string, void (*)(long)> timed{{"create_join", createJoin},
                                                    {"batch", batch},
                                                    {"cond", cond},
                                                    {"sem", sem},
                                                    {"ring", ring},
                                                    {"yield", yield},
                                                    {"mutex", uncontended},
                                                    {"contended", contended},
                                                    {"barrier", barrier}};
  std::string name = argc == 3 ? argv[1] : "";
  long n = argc == 3 ? atol(argv[2]) : 0;
  if (n > 0 && (name == "parked" || name == "parked_small")) {
    parked(n, name == "parked_small");
    return 0;
  }
  auto found = timed.find(name);
  if (n <= 0 || found == timed.end()) {
    fprintf(stderr, "usage: threads NAME COUNT; see run.py\n");
    return 2;
  }
  double start = now();
  found->second(n);
  printf("{\"ns\": %.1f}\n", (now() - start) * 1e9 / static_cast<double>(n));
}
