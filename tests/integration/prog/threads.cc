// Threads of all kinds on one heap, `threads KIND`: very many short ones, many live ones that free
// each other's blocks, destructors that allocate when a thread ends, a thread that only frees.
#include <limits.h>
#include <malloc.h>
#include <pthread.h>

#include <memory>
#include <string>
#include <vector>

#include "check.h"

namespace {

pthread_attr_t small_stack;

struct Slot {
  char* p;
  size_t n;
};
constexpr int kSlots = 4096;
Slot* slots[kSlots];

// Takes whatever another thread left in the place, checks and frees it; leaves a block of its own.
void exchange(uint64_t& seed) {
  int place = static_cast<int>(nextRandom(&seed) % kSlots);
  Slot* mine = static_cast<Slot*>(malloc(sizeof(Slot)));
  mine->n = randomSize(&seed);
  mine->p = static_cast<char*>(malloc(mine->n));
  CHECK(mine->p != nullptr);
  fill(mine->p, mine->n, static_cast<unsigned>(mine->n));
  Slot* other = __atomic_exchange_n(&slots[place], mine, __ATOMIC_ACQ_REL);
  if (other == nullptr) return;
  CHECK(isFilled(other->p, other->n, static_cast<unsigned>(other->n)));
  free(other->p);
  free(other);
}

void* shortLife(void* number) {
  uint64_t seed = 1 + reinterpret_cast<uintptr_t>(number);
  for (int i = 0; i < 20; i++) exchange(seed);
  return nullptr;
}

void many() {
  for (int batch = 0; batch < 1250; batch++) {
    pthread_t t[8];
    for (int i = 0; i < 8; i++) {
      void* number = reinterpret_cast<void*>(static_cast<intptr_t>(batch * 8 + i));
      CHECK(pthread_create(&t[i], &small_stack, shortLife, number) == 0);
    }
    for (pthread_t each : t) pthread_join(each, nullptr);
  }
}

void detached() {
  static int left = 3000;
  for (int i = 0; i < 3000; i++) {
    pthread_t t;
    auto run = [](void* number) -> void* {
      shortLife(number);
      __atomic_fetch_sub(&left, 1, __ATOMIC_RELAXED);
      return nullptr;
    };
    while (pthread_create(&t, &small_stack, run, reinterpret_cast<void*>(static_cast<intptr_t>(i))))
      usleep(1000);
    pthread_detach(t);
  }
  while (__atomic_load_n(&left, __ATOMIC_RELAXED) != 0) usleep(1000);
}

pthread_barrier_t all_there;

void* live(void* number) {
  uint64_t seed = 77 + reinterpret_cast<uintptr_t>(number);
  exchange(seed);
  pthread_barrier_wait(&all_there);
  for (int i = 0; i < 300; i++) exchange(seed);
  pthread_barrier_wait(&all_there);
  return nullptr;
}

void manyLive() {
  static pthread_t t[600];
  pthread_barrier_init(&all_there, nullptr, 600);
  for (intptr_t i = 0; i < 600; i++) {
    CHECK(pthread_create(&t[i], &small_stack, live, reinterpret_cast<void*>(i)) == 0);
  }
  for (pthread_t each : t) pthread_join(each, nullptr);
}

pthread_key_t first_key, second_key;
int destroyed = 0;

struct Holder {
  std::vector<std::string> texts;
  Holder() { texts.assign(10, std::string(100, 'h')); }
  ~Holder() {
    for (auto& text : texts) CHECK(text == std::string(100, 'h'));
    std::string last(5000, 'l');
    texts.push_back(last);
    __atomic_fetch_add(&destroyed, 1, __ATOMIC_RELAXED);
  }
};
thread_local Holder holder;
thread_local std::unique_ptr<Slot> late;

void onKey(void* value) {
  free(value);
  free(malloc(300));
  free(malloc(100000));
  __atomic_fetch_add(&destroyed, 1, __ATOMIC_RELAXED);
  // Until the last round, which PTHREAD_DESTRUCTOR_ITERATIONS limits.
  pthread_setspecific(second_key, malloc(50));
}
void onSecondKey(void* value) {
  free(value);
  void* p = calloc(10, 10);
  free(realloc(p, 7000));
}

void* withDestructors(void* number) {
  CHECK(holder.texts.size() == 10);
  late.reset(new Slot);
  pthread_setspecific(first_key, malloc(200));
  uint64_t seed = 5 + reinterpret_cast<uintptr_t>(number);
  for (int i = 0; i < 10; i++) exchange(seed);
  if (reinterpret_cast<uintptr_t>(number) % 3 == 0) pthread_exit(malloc(10));
  return malloc(10);
}

void destructors() {
  CHECK(pthread_key_create(&first_key, onKey) == 0);
  CHECK(pthread_key_create(&second_key, onSecondKey) == 0);
  for (int batch = 0; batch < 50; batch++) {
    pthread_t t[8];
    for (int i = 0; i < 8; i++) {
      void* number = reinterpret_cast<void*>(static_cast<intptr_t>(batch * 8 + i));
      CHECK(pthread_create(&t[i], nullptr, withDestructors, number) == 0);
    }
    for (pthread_t each : t) {
      void* result;
      pthread_join(each, &result);
      free(result);
    }
  }
  CHECK(destroyed == 800);
}

// A first-ever allocation in the last destructor round must not be lost.
void lateFirst() {
  CHECK(pthread_key_create(&first_key, [](void*) { free(malloc(77)); }) == 0);
  for (int i = 0; i < 500; i++) {
    pthread_t t;
    auto run = [](void*) -> void* { return pthread_setspecific(first_key, &first_key), nullptr; };
    CHECK(pthread_create(&t, nullptr, run, nullptr) == 0);
    pthread_join(t, nullptr);
  }
}

// One thread allocates 2,000,000 blocks, another only frees them; little is alive at a time.
constexpr int kRing = 4096;
void* ring[kRing];

void* onlyFrees(void*) {
  for (int i = 0; i < 2000000; i++) {
    void* p;
    while ((p = __atomic_exchange_n(&ring[i % kRing], nullptr, __ATOMIC_ACQ_REL)) == nullptr)
      sched_yield();
    free(p);
  }
  return nullptr;
}

void producer() {
  pthread_t t;
  CHECK(pthread_create(&t, nullptr, onlyFrees, nullptr) == 0);
  for (int i = 0; i < 2000000; i++) {
    size_t n = static_cast<size_t>(16 + i % 50 * 20);
    char* p = static_cast<char*>(malloc(n));
    *p = 1;
    p[n - 1] = 1;
    while (__atomic_load_n(&ring[i % kRing], __ATOMIC_ACQUIRE) != nullptr) sched_yield();
    __atomic_store_n(&ring[i % kRing], p, __ATOMIC_RELEASE);
  }
  pthread_join(t, nullptr);
}

// All of a program's keys are its own.
void allKeys() {
  int n = 0;
  pthread_key_t key;
  while (pthread_key_create(&key, nullptr) == 0) n++;
  printf("%d keys\n", n);
}

}  // namespace

int main(int argc, char** argv) {
  static const struct {
    const char* name;
    void (*run)();
  } kKinds[] = {{"many", many},
                {"detached", detached},
                {"live", manyLive},
                {"destructors", destructors},
                {"late-first", lateFirst},
                {"only-frees", producer},
                {"keys", allKeys}};
  pthread_attr_init(&small_stack);
  pthread_attr_setstacksize(&small_stack, PTHREAD_STACK_MIN + 65536);
  for (auto& kind : kKinds) {
    if (argc == 2 && strcmp(argv[1], kind.name) == 0) kind.run();
  }
  // Not ru_maxrss, which starts at what the process had before it became this program.
  long peak = 0;
  char line[200];
  FILE* status = fopen("/proc/self/status", "r");
  while (fgets(line, sizeof line, status) != nullptr) sscanf(line, "VmHWM: %ld", &peak);
  fclose(status);
  fprintf(stderr, "figure max_rss_kib %ld\n", peak);
  puts("ok");
}
