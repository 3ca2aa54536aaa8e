/* Blocks that are held by one kind of reference each: global, stack of a waiting thread, registers
   of a running one, thread variables, keys, mappings, the kernel, tags. After some cycles all are
   found through their references and freed: none may have been called leaked. `hidden` counts those
   whose references no collector can know, freed as well. Arguments: how many cycles; `reclaim`: for
   GRAFT_GC=reclaim, with references that only its confirm scan knows instead of those that none
   does, and with litter that takes the place of whatever is given back. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../../../preload/graft.h"
#include "check.h"

enum { kMany = 100, kSize = 64 };

static void* global[kMany];
static const uintptr_t kMask = 0x5555555555555555u;
static pthread_barrier_t ready, done;
static __thread void* in_tls;

/* No copy of a block's address stays behind in registers or on the stack. */
static __attribute__((noinline)) void wipe(void) {
  volatile char junk[16384];
  memset((void*)junk, 0, sizeof junk);
}

static void give(void* p) {
  for (int i = 0; i < kSize; i++) CHECK(((char*)p)[i] == 7);
  free(p);
}

static void* block(void) {
  char* p = malloc(kSize);
  memset(p, 7, kSize);
  return p;
}

/* --- memory */

static char* map(int flags, int fd) {
  char* p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, flags, fd, 0);
  CHECK(p != MAP_FAILED);
  return p;
}

static void **in_anon, **in_shared, **in_none, **in_read_only, **inner, **at_end;

static __attribute__((noinline)) void hold(void) {
  in_anon = (void**)map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
  in_none = (void**)map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
  in_read_only = (void**)map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
  int fd = memfd_create("keep", 0);
  CHECK(ftruncate(fd, 8192) == 0);
  in_shared = (void**)map(MAP_SHARED, fd);
  inner = calloc(kMany, sizeof *inner);
  at_end = calloc(kMany, sizeof *at_end);
  for (int i = 0; i < kMany; i++) {
    global[i] = block();
    in_anon[i] = block();
    in_none[i] = block();
    in_read_only[i] = block();
    in_shared[i] = block();
    inner[i] = (char*)block() + 1 + i % (kSize - 1);
    at_end[i] = (char*)block() + kSize;
  }
  CHECK(mprotect(in_none, 8192, PROT_NONE) == 0);
  CHECK(mprotect(in_read_only, 8192, PROT_READ) == 0);
}

static __attribute__((noinline)) void drop(void) {
  CHECK(mprotect(in_none, 8192, PROT_READ | PROT_WRITE) == 0);
  for (int i = 0; i < kMany; i++) {
    give(global[i]);
    give(in_anon[i]);
    give(in_none[i]);
    give(in_read_only[i]);
    give(in_shared[i]);
    give((char*)inner[i] - 1 - i % (kSize - 1));
    give((char*)at_end[i] - kSize);
  }
}

/* --- the kernel */

static int ep, pipes[kMany][2];
static timer_t timers[kMany];
static int queue[2], talk[2];

/* As a message with a kind and a pointer, so unaligned. */
static void post(int fd, void* p) {
  char message[1 + sizeof p] = "m";
  memcpy(message + 1, &p, sizeof p);
  CHECK(write(fd, message, sizeof message) == sizeof message);
}

static void fetch_and_free(int fd) {
  void* p;
  char message[1 + sizeof p];
  CHECK(read(fd, message, sizeof message) == sizeof message && message[0] == 'm');
  memcpy(&p, message + 1, sizeof p);
  give(p);
}

static void on_timer(int s, siginfo_t* info, void* context) {
  (void)s, (void)context;
  give(info->si_value.sival_ptr);
}

static __attribute__((noinline)) void into_kernel(void) {
  ep = epoll_create1(0);
  CHECK(pipe(queue) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, talk) == 0);
  for (int i = 0; i < kMany; i++) {
    CHECK(pipe(pipes[i]) == 0);
    struct epoll_event e = {.events = EPOLLIN, .data = {.ptr = block()}};
    CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, pipes[i][0], &e) == 0);
    struct sigevent how = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    how.sigev_value.sival_ptr = block();
    CHECK(timer_create(CLOCK_MONOTONIC, &how, &timers[i]) == 0);
    post(queue[1], block());
    post(talk[0], block());
  }
}

static __attribute__((noinline)) void out_of_kernel(void) {
  for (int i = 0; i < kMany; i++) {
    CHECK(write(pipes[i][1], "x", 1) == 1);
    struct epoll_event e;
    CHECK(epoll_wait(ep, &e, 1, 1000) == 1);
    give(e.data.ptr);
    CHECK(read(pipes[i][0], &e, 1) == 1);
    fetch_and_free(queue[0]);
    fetch_and_free(talk[1]);
  }
  struct sigaction a = {.sa_sigaction = on_timer, .sa_flags = SA_SIGINFO};
  sigaction(SIGUSR1, &a, NULL);
  for (int i = 0; i < kMany; i++) {
    struct itimerspec now = {.it_value = {.tv_nsec = 1}};
    CHECK(timer_settime(timers[i], 0, &now, NULL) == 0);
    while (timer_gettime(timers[i], &now) == 0 && now.it_value.tv_nsec != 0) {
    }
    timer_delete(timers[i]);
  }
}

/* --- threads */

static pthread_key_t key;

static void* waits(void* arg) {
  void* volatile on_stack = block();
  in_tls = block();
  pthread_setspecific(key, block());
  wipe();
  pthread_barrier_wait(&ready);
  pthread_barrier_wait(&done);
  give(on_stack);
  give(in_tls);
  give(pthread_getspecific(key));
  give(arg);
  return NULL;
}

static volatile int stop;

/* The address is in one place alone while the loop runs: every register that a compiler may have
   kept it in is cleared. */
#define SPINNER(name, to, from)                                                \
  static void* name(void* arg) {                                               \
    (void)arg;                                                                 \
    uintptr_t p = (uintptr_t)block();                                          \
    wipe();                                                                    \
    pthread_barrier_wait(&ready);                                              \
    __asm__ volatile(                                                          \
        "xorl %%ebx, %%ebx\n\txorl %%r12d, %%r12d\n\txorl %%r13d, %%r13d\n\t"  \
        "xorl %%r14d, %%r14d\n\txorl %%r15d, %%r15d\n\t" to                    \
        "\n\txorl %k0, %k0\n"                                                  \
        "1:\tpause\n\tcmpl $0, %1\n\tje 1b\n\t" from                           \
        : "+a"(p)                                                              \
        : "m"(stop)                                                            \
        : "rbx", "r11", "r12", "r13", "r14", "r15", "xmm8", "xmm9", "memory"); \
    give((void*)p);                                                            \
    return NULL;                                                               \
  }
SPINNER(spin_rbx, "movq %q0, %%rbx", "movq %%rbx, %q0")
SPINNER(spin_r11, "movq %q0, %%r11", "movq %%r11, %q0")
SPINNER(spin_xmm, "movq %q0, %%xmm8", "movq %%xmm8, %q0")
/* In the upper half of a ymm register alone, which FXSAVE does not know. */
SPINNER(spin_ymm,
        "vmovq %q0, %%xmm9\n\tvinserti128 $1, %%xmm9, %%ymm9, %%ymm9\n\t"
        "vpxor %%xmm8, %%xmm8, %%xmm8\n\tvpblendd $0x0f, %%ymm8, %%ymm9, %%ymm9",
        "vextracti128 $1, %%ymm9, %%xmm9\n\tvmovq %%xmm9, %q0\n\tvzeroupper")
/* Below the stack pointer, where leaf functions may put things. */
SPINNER(spin_red_zone, "movq %q0, -120(%%rsp)", "movq -120(%%rsp), %q0")

/* --- what cannot be known */

static uintptr_t hidden[kMany];

static __attribute__((noinline)) void hide(void) {
  for (int i = 0; i < kMany; i++) hidden[i] = (uintptr_t)block() ^ kMask;
}

static uintptr_t tagged[kMany], boxed[kMany], mangled[kMany];
static char packed[kMany * 9 + 8];

static uintptr_t guard(void) {
  uintptr_t g;
  __asm__("movq %%fs:0x30, %0" : "=r"(g));
  return g;
}

static __attribute__((noinline)) void hide_a_little(void) {
  for (int i = 0; i < kMany; i++) {
    tagged[i] = (uintptr_t)block() | (uintptr_t)0xa5 << 56;
    boxed[i] = (uintptr_t)block() | (uintptr_t)0xfff8 << 48;
    uintptr_t m = (uintptr_t)block() ^ guard();
    mangled[i] = m << 17 | m >> 47;
    void* p = block();
    memcpy(packed + i * 9 + 1, &p, sizeof p);
  }
}

static __attribute__((noinline)) void show(void) {
  for (int i = 0; i < kMany; i++) {
    give((void*)(tagged[i] << 8 >> 8));
    give((void*)(boxed[i] << 16 >> 16));
    give((void*)((mangled[i] >> 17 | mangled[i] << 47) ^ guard()));
    void* p;
    memcpy(&p, packed + i * 9 + 1, sizeof p);
    give(p);
  }
}

static __attribute__((noinline)) void litter(void) {
  for (int i = 0; i < 5000; i++) {
    char* volatile p = malloc(kSize);
    memset(p, 9, kSize);
  }
}

int main(int argc, char** argv) {
  int cycles = argc > 1 ? atoi(argv[1]) : 3;
  int reclaim = argc > 2 && strcmp(argv[2], "reclaim") == 0;
  void* (*spinners[])(void*) = {spin_rbx, spin_r11, spin_xmm, spin_red_zone, spin_ymm};
  int spins = __builtin_cpu_supports("avx2") ? 5 : 4;
  enum { kWaiters = 10 };
  pthread_t t[kWaiters], s[5];
  pthread_key_create(&key, NULL);
  pthread_barrier_init(&ready, NULL, (unsigned)(kWaiters + spins + 1));
  pthread_barrier_init(&done, NULL, kWaiters + 1);
  hold();
  into_kernel();
  reclaim ? hide_a_little() : hide();
  for (int i = 0; i < kWaiters; i++) CHECK(pthread_create(&t[i], NULL, waits, block()) == 0);
  for (int i = 0; i < spins; i++) CHECK(pthread_create(&s[i], NULL, spinners[i], NULL) == 0);
  wipe();
  pthread_barrier_wait(&ready);
  usleep(50000);
  for (int i = 0; graft_gc && i < cycles; i++) {
    if (reclaim) litter();
    wipe();
    int got = graft_gc();
    if (got != 0) fprintf(stderr, "cycle %d: %d\n", i, got);
  }
  stop = 1;
  pthread_barrier_wait(&done);
  for (int i = 0; i < kWaiters; i++) pthread_join(t[i], NULL);
  for (int i = 0; i < spins; i++) pthread_join(s[i], NULL);
  drop();
  out_of_kernel();
  for (int i = 0; !reclaim && i < kMany; i++) give((void*)(hidden[i] ^ kMask));
  if (reclaim) show();
  puts("kept");
  return 0;
}
