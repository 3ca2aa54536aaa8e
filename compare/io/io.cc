// What blocking I/O costs a program with threads: `io pipe N` hands a byte back and forth between
// two threads through two pipes and prints {"ns": per hop}; `io echo` is a server with one thread
// per connection that sends back what it receives. It prints {"port": N}, serves until its standard
// input ends, then prints {"cpu_s": ...}. io.go is its counterpart.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

int there[2], back[2];

void* answer(void* count) {
  char byte;
  for (long i = 0; i < *static_cast<long*>(count); i++) {
    if (read(there[0], &byte, 1) != 1 || write(back[1], &byte, 1) != 1) fail("pipe");
  }
  return nullptr;
}

int pipes(long count) {
  if (pipe(there) != 0 || pipe(back) != 0) fail("pipe");
  pthread_t other;
  if (pthread_create(&other, nullptr, answer, &count) != 0) fail("pthread_create");
  Clock::time_point begin = Clock::now();
  char byte = 1;
  for (long i = 0; i < count; i++) {
    if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1) fail("pipe");
  }
  std::chrono::duration<double, std::nano> spent = Clock::now() - begin;
  pthread_join(other, nullptr);
  std::printf("{\"ns\": %.1f}\n", spent.count() / static_cast<double>(count) / 2);
  return 0;
}

void* connection(void* arg) {
  int fd = static_cast<int>(reinterpret_cast<intptr_t>(arg));
  char buffer[4096];
  for (;;) {
    ssize_t n = recv(fd, buffer, sizeof buffer, 0);
    if (n <= 0) break;
    if (send(fd, buffer, static_cast<size_t>(n), MSG_NOSIGNAL) != n) break;
  }
  close(fd);
  return nullptr;
}

void* acceptAll(void* arg) {
  int listener = *static_cast<int*>(arg);
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  pthread_attr_setstacksize(&attr, size_t{256} << 10);
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  for (;;) {
    int fd = accept(listener, nullptr, nullptr);
    if (fd < 0) fail("accept");
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    pthread_t thread;
    void* number = reinterpret_cast<void*>(static_cast<intptr_t>(fd));
    if (pthread_create(&thread, &attr, connection, number) != 0) fail("pthread_create");
  }
}

int echo() {
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* any = reinterpret_cast<sockaddr*>(&address);
  if (listener < 0 || bind(listener, any, sizeof address) != 0 || listen(listener, 4096) != 0 ||
      getsockname(listener, any, &size) != 0) {
    fail("listen");
  }
  std::printf("{\"port\": %d}\n", ntohs(address.sin_port));
  std::fflush(stdout);
  pthread_t thread;
  if (pthread_create(&thread, nullptr, acceptAll, &listener) != 0) fail("pthread_create");
  char byte;
  while (read(0, &byte, 1) > 0) {
  }
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  double cpu = static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
               static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
  std::printf("{\"cpu_s\": %.3f}\n", cpu);
  std::fflush(stdout);
  _exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  if (argc == 3 && std::strcmp(argv[1], "pipe") == 0) return pipes(std::atol(argv[2]));
  if (argc == 2 && std::strcmp(argv[1], "echo") == 0) return echo();
  std::fprintf(stderr, "usage: io pipe COUNT | io echo\n");
  return 2;
}
