// Load for the echo servers of io.cc and io.go: `io_load PORT CONNECTIONS SECONDS` keeps one
// message of 64 bytes under way on each connection, from one thread over epoll, checks every byte
// that comes back, and prints requests per second and the 50th and 99th percentile of their times:
// {"requests": N, "per_s": X, "p50_us": X, "p99_us": X}. The first tenth of the time is not
// counted.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
constexpr size_t kMessage = 64;

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

struct Connection {
  int fd = -1;
  uint32_t sent = 0;
  size_t got = 0;
  char expected[kMessage] = {};
  Clock::time_point at;
};

void sendNext(Connection& c, size_t index) {
  for (size_t i = 0; i < kMessage; i++) {
    c.expected[i] = static_cast<char>(index * 7 + c.sent * 13 + i);
  }
  c.sent++;
  c.got = 0;
  c.at = Clock::now();
  if (send(c.fd, c.expected, kMessage, 0) != static_cast<ssize_t>(kMessage)) fail("send");
}

int connectTo(int port) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int one = 1;
  if (fd < 0 || connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    fail("connect");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return fd;
}

// True: the whole message is back.
bool receive(Connection& c) {
  char buffer[kMessage];
  ssize_t n = recv(c.fd, buffer, kMessage - c.got, 0);
  if (n <= 0) fail("recv");
  if (std::memcmp(buffer, c.expected + c.got, static_cast<size_t>(n)) != 0) {
    std::fprintf(stderr, "io_load: other bytes came back than were sent\n");
    std::exit(1);
  }
  c.got += static_cast<size_t>(n);
  return c.got == kMessage;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: io_load PORT CONNECTIONS SECONDS\n");
    return 2;
  }
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  int port = std::atoi(argv[1]);
  std::vector<Connection> all(static_cast<size_t>(std::atol(argv[2])));
  double seconds = std::atof(argv[3]);
  int set = epoll_create1(0);
  for (size_t i = 0; i < all.size(); i++) {
    all[i].fd = connectTo(port);
    epoll_event e{};
    e.events = EPOLLIN;
    e.data.u64 = i;
    if (epoll_ctl(set, EPOLL_CTL_ADD, all[i].fd, &e) != 0) fail("epoll_ctl");
  }
  std::vector<float> times;
  Clock::time_point begin = Clock::now();
  auto counted = begin + std::chrono::duration_cast<Clock::duration>(
                             std::chrono::duration<double>(seconds / 10));
  auto end =
      begin + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  for (size_t i = 0; i < all.size(); i++) sendNext(all[i], i);
  Clock::time_point now = begin;
  while (now < end) {
    epoll_event events[256];
    int n = epoll_wait(set, events, 256, 1000);
    if (n <= 0) fail("epoll_wait");
    now = Clock::now();
    for (int k = 0; k < n; k++) {
      size_t i = events[k].data.u64;
      if (!receive(all[i])) continue;
      if (now >= counted) {
        times.push_back(std::chrono::duration<float, std::micro>(now - all[i].at).count());
      }
      sendNext(all[i], i);
    }
  }
  if (times.empty()) fail("no answer");
  std::sort(times.begin(), times.end());
  double counted_s = std::chrono::duration<double>(now - counted).count();
  std::printf("{\"requests\": %zu, \"per_s\": %.0f, \"p50_us\": %.0f, \"p99_us\": %.0f}\n",
              times.size(), static_cast<double>(times.size()) / counted_s,
              static_cast<double>(times[times.size() / 2]),
              static_cast<double>(times[times.size() / 100 * 99]));
  return 0;
}
