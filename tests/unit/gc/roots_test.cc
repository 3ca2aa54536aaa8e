// The reader of mappings, the page map by both ways, the root set with what it leaves out, and what
// is parsed of the kernel's texts.
#include "core/gc/roots.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <vector>

#include "core/gc/kernel_roots.h"
#include "core/gc/pages.h"
#include "tests/unit/heap/test_peer.h"

namespace graft::gc {
namespace {

Mapping parsed(const std::string& line) {
  Mapping m;
  EXPECT_TRUE(parseMapping(line.data(), line.size(), m)) << line;
  return m;
}

TEST(Maps, LinesOfEachKind) {
  Mapping m = parsed("7f00000000-7f00001000 rw-p 00000000 00:00 0 ");
  EXPECT_EQ(m.from, 0x7f00000000u);
  EXPECT_EQ(m.to, 0x7f00001000u);
  EXPECT_TRUE(m.read && m.write && !m.shared);
  EXPECT_EQ(m.kind, MapKind::kAnon);
  EXPECT_EQ(parsed("1000-2000 rw-p 00000000 00:00 0").kind, MapKind::kAnon);
  m = parsed("1000-2000 r--s 00000000 fe:00 11150945                   /tmp/some file");
  EXPECT_TRUE(m.read && !m.write && m.shared);
  EXPECT_EQ(m.kind, MapKind::kFile);
  m = parsed("1000-2000 ---p 00000000 00:00 0 ");
  EXPECT_TRUE(!m.read && !m.write);
  struct {
    const char* name;
    MapKind kind;
  } kinds[] = {{"[stack]", MapKind::kStack},
               {"[heap]", MapKind::kAnon},
               {"[anon:glibc: malloc]", MapKind::kAnon},
               {"[vvar]", MapKind::kKernel},
               {"[vdso]", MapKind::kKernel},
               {"[vsyscall]", MapKind::kKernel},
               {"/dev/shm/x", MapKind::kMemory},
               {"/dev/zero (deleted)", MapKind::kMemory},
               {"/memfd:x (deleted)", MapKind::kMemory},
               {"/SYSV00000000 (deleted)", MapKind::kMemory},
               {"/dev/dri/card0", MapKind::kDevice},
               {"anon_inode:[io_uring]", MapKind::kMemory},
               {"/lib/x.so", MapKind::kFile}};
  for (auto& k : kinds) {
    EXPECT_EQ(parsed(std::string("1000-2000 rw-s 00000000 00:01 7  ") + k.name).kind, k.kind)
        << k.name;
  }
}

TEST(Maps, BadLines) {
  for (const char* line :
       {"", "x", "1000", "1000-", "1000-2000", "1000-2000 r", "2000-1000 rw-p 0 0 0",
        "1000-1000 rw-p 0 0:0 0", "11112222333344445-2 rw-p 0 0:0 0"}) {
    Mapping m;
    EXPECT_FALSE(parseMapping(line, strlen(line), m)) << line;
  }
}

// With a small buffer, lines are cut in every possible place.
TEST(Maps, TheReaderSeesWhatIsMapped) {
  void* here = mmap(nullptr, 3 * kOsPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (size_t size : {512ul, 4096ul, 65536ul}) {
    std::vector<char> buffer(size);
    MapsReader maps(buffer.data(), size);
    ASSERT_TRUE(maps.open());
    Mapping m;
    bool found = false, stack = false;
    Addr last = 0;
    while (maps.next(m)) {
      EXPECT_GE(m.from, last);
      last = m.to;
      Addr a = reinterpret_cast<Addr>(here);
      found |= m.from <= a && a + 3 * kOsPage <= m.to && m.read && !m.write;
      stack |= m.kind == MapKind::kStack && m.from <= reinterpret_cast<Addr>(&m);
    }
    EXPECT_FALSE(maps.failed());
    EXPECT_TRUE(found && stack) << size;
  }
  munmap(here, 3 * kOsPage);
}

TEST(Pages, BothWaysFindThePagesThatHoldSomething) {
  constexpr size_t kPages = 5000;
  char* p = static_cast<char*>(mmap(nullptr, kPages * kOsPage, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  madvise(p, kPages * kOsPage, MADV_NOHUGEPAGE);
  heap::Rng rng(3);
  std::set<size_t> touched;
  for (size_t i = 0; i < kPages; i++) {
    if (rng.below(3) != 0) continue;  // more than 512 runs
    p[i * kOsPage] = 1;
    touched.insert(i);
  }
  Addr base = reinterpret_cast<Addr>(p);
  for (bool deny : {false, true}) {
    PageMap pages;
    ASSERT_TRUE(pages.open(deny));
    std::set<size_t> found;
    ASSERT_TRUE(pages.forEach(base, base + kPages * kOsPage, [&](const PageRun& run) {
      EXPECT_FALSE(run.file);
      EXPECT_TRUE(run.present);
      for (Addr a = run.from; a < run.to; a += kOsPage) {
        EXPECT_TRUE(found.insert((a - base) / kOsPage).second) << "told twice";
      }
    }));
    EXPECT_EQ(found, touched) << (deny ? "read" : "scanned");
    pages.close();
  }
  munmap(p, kPages * kOsPage);
}

class Roots : public testing::Test {
 protected:
  Roots() : ranges(8192), jobs(8193), out(256), stacks(64), text(16_KiB) {
    roots.use({ranges.data(), jobs.data(), 8192, out.data(), 256, stacks.data(), 64, text.data(),
               text.size()});
    roots.begin(0x1000, 0x1000, 0x1000);
  }
  // How many of a job's bytes lie in [from, to), over all jobs.
  size_t covered(Addr from, Addr to) {
    size_t sum = 0;
    RootSet::Job j;
    for (uint32_t i = 0; roots.job(i, j); i++) {
      EXPECT_EQ(j.from % 8, 0u);
      Addr a = j.from > from ? j.from : from, b = j.to < to ? j.to : to;
      if (a < b) sum += b - a;
    }
    return sum;
  }
  std::vector<RootSet::Job> ranges;
  std::vector<uint32_t> jobs;
  std::vector<RootSet::Range> out;
  std::vector<StackInfo> stacks;
  std::vector<char> text;
  RootSet roots;
};

TEST_F(Roots, EveryByteIsInOneJobButForWhatIsLeftOut) {
  constexpr size_t kBytes = 200_MiB;
  void* p = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  Addr a = reinterpret_cast<Addr>(p);
  roots.leaveOut(a + 50_MiB, 10_MiB);
  roots.leaveOut(a + 8_KiB, 24);
  ASSERT_EQ(roots.build(), nullptr);
  EXPECT_EQ(covered(a, a + kBytes), kBytes - 10_MiB - 24);
  EXPECT_EQ(covered(a + 50_MiB, a + 60_MiB), 0u);
  EXPECT_EQ(covered(a + 8_KiB, a + 8_KiB + 24), 0u);
  munmap(p, kBytes);
}

TEST_F(Roots, DeadStackIsLeftOutAndTheRedZoneIsNot) {
  Addr sp = roundDown(reinterpret_cast<Addr>(__builtin_frame_address(0)), 16);
  StackInfo s;
  s.sp = sp;
  roots.addStack(s);
  ASSERT_EQ(roots.build(), nullptr);
  EXPECT_EQ(covered(sp - kRedZone, sp + 64), kRedZone + 64);
  EXPECT_EQ(covered(sp - kRedZone - 4096, sp - kRedZone), 0u);
}

// As glibc makes a thread's stack: guard, stack, and the thread's block at its top.
class MappedStack {
 public:
  MappedStack() {
    p_ = mmap(nullptr, 3 * 64_KiB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(reinterpret_cast<void*>(low()), 64_KiB, PROT_READ | PROT_WRITE);
  }
  ~MappedStack() { munmap(p_, 3 * 64_KiB); }
  MappedStack(const MappedStack&) = delete;
  MappedStack& operator=(const MappedStack&) = delete;
  Addr low() const { return reinterpret_cast<Addr>(p_) + 64_KiB; }
  Addr high() const { return low() + 64_KiB; }

 private:
  void* p_;
};

TEST_F(Roots, AThreadsStackIsKnownByItsGuardAndItsBlock) {
  MappedStack stack;
  StackInfo s;
  s.sp = stack.low() + 32_KiB;
  s.thread_pointer = stack.high() - 2048;
  roots.addStack(s);
  ASSERT_EQ(roots.build(), nullptr);
  EXPECT_EQ(covered(stack.low(), stack.high()), 32_KiB + kRedZone);
}

TEST_F(Roots, WithoutGuardOrWithTwoBlocksItIsScannedWhole) {
  MappedStack stack, other;
  munmap(reinterpret_cast<void*>(stack.low() - 64_KiB), 64_KiB);
  StackInfo s;
  s.sp = stack.low() + 32_KiB;
  s.thread_pointer = stack.high() - 2048;
  roots.addStack(s);
  s.sp = other.low() + 32_KiB;
  s.thread_pointer = other.high() - 2048;
  roots.addStack(s);
  s.sp = 1;
  s.thread_pointer = other.high() - 32;
  roots.addStack(s);
  ASSERT_EQ(roots.build(), nullptr);
  EXPECT_EQ(covered(stack.low(), stack.high()), 64_KiB);
  EXPECT_EQ(covered(other.low(), other.high()), 64_KiB);
}

TEST_F(Roots, AStackPointerElsewhereLeavesNothingOut) {
  MappedStack stack, elsewhere;
  StackInfo s;
  s.sp = elsewhere.low() + 32_KiB;  // an alternate stack, or a coroutine's
  s.thread_pointer = stack.high() - 2048;
  roots.addStack(s);
  s.low = elsewhere.low() + 40_KiB;  // and a G that is on another stack than its own
  s.high = elsewhere.low() + 48_KiB;
  roots.addStack(s);
  ASSERT_EQ(roots.build(), nullptr);
  EXPECT_EQ(covered(stack.low(), stack.high()), 64_KiB);
  EXPECT_EQ(covered(elsewhere.low(), elsewhere.high()), 64_KiB);
}

TEST_F(Roots, TooManyIsSaid) {
  for (int i = 0; i < 300; i++) roots.leaveOut(0x10000 + static_cast<Addr>(i) * 4096, 64);
  EXPECT_NE(roots.build(), nullptr);
}

void collect(void* arg, uint64_t w) { static_cast<std::vector<uint64_t>*>(arg)->push_back(w); }

TEST(KernelRoots, WhatEpollAndTimersHoldIsFound) {
  int ep = epoll_create1(EPOLL_CLOEXEC), pipes[2];
  ASSERT_EQ(pipe(pipes), 0);
  constexpr uint64_t kData = 0xc0ffee0012345678, kValue = 0x00007f1234567890;
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kData;
  ASSERT_EQ(epoll_ctl(ep, EPOLL_CTL_ADD, pipes[0], &event), 0);
  sigevent how{};
  how.sigev_notify = SIGEV_SIGNAL;
  how.sigev_signo = SIGURG;
  how.sigev_value.sival_ptr = reinterpret_cast<void*>(kValue);
  timer_t timer;
  ASSERT_EQ(timer_create(CLOCK_MONOTONIC, &how, &timer), 0);
  std::vector<uint64_t> words;
  char text[4096];
  KernelRoots kernel{text, sizeof text, collect, &words};
  EXPECT_EQ(kernel.read(), nullptr);
  EXPECT_EQ(std::count(words.begin(), words.end(), kData), 1);
  if (access("/proc/self/timers", R_OK) == 0) {
    EXPECT_EQ(std::count(words.begin(), words.end(), kValue), 1);
  }
  timer_delete(timer);
  close(ep);
  close(pipes[0]);
  close(pipes[1]);
}

// What waits in pipes and local sockets is found at any offset and left for its reader.
TEST(KernelRoots, WaitingBytesAreLookedAtAndStay) {
  constexpr uint64_t kWord = 0xc0ffee0012345678;
  int pipes[2], stream[2], packets[2];
  ASSERT_EQ(pipe(pipes), 0);
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, stream), 0);
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packets), 0);
  constexpr int kFill = 5003;  // more than one piece of the small buffer below
  std::string bytes(kFill, 'x');
  bytes.append(reinterpret_cast<const char*>(&kWord), sizeof kWord);
  for (int i = 0; i < 300; i++) ASSERT_EQ(write(pipes[1], bytes.data(), 17), 17);
  ssize_t size = static_cast<ssize_t>(bytes.size());
  for (int fd : {pipes[1], stream[0], packets[0]})
    ASSERT_EQ(write(fd, bytes.data(), bytes.size()), size);
  std::vector<uint64_t> words;
  char text[8192];
  KernelRoots kernel{text, sizeof text, collect, &words};
  for (int round = 1; round <= 2; round++) {
    EXPECT_EQ(kernel.read(), nullptr);
    EXPECT_EQ(std::count(words.begin(), words.end(), kWord), 3 * round);
  }
  std::string back(300 * 17 + bytes.size() + 1, '\0');
  EXPECT_EQ(read(pipes[0], back.data(), back.size()), 300 * 17 + size);
  EXPECT_EQ(read(stream[1], back.data(), back.size()), size);
  EXPECT_EQ(back.compare(0, bytes.size(), bytes), 0);
  EXPECT_EQ(read(packets[1], back.data(), back.size()), size);
  // All gone: nothing is found any more.
  words.clear();
  EXPECT_EQ(kernel.read(), nullptr);
  EXPECT_EQ(std::count(words.begin(), words.end(), kWord), 0);
  // What does not fit is not passed over in silence.
  std::string much(sizeof text, 'y');
  ASSERT_EQ(write(stream[0], much.data(), much.size()), static_cast<ssize_t>(much.size()));
  EXPECT_NE(kernel.read(), nullptr);
  for (int fd : {pipes[0], pipes[1], stream[0], stream[1], packets[0], packets[1]}) close(fd);
}

TEST(KernelRoots, OddText) {
  std::vector<uint64_t> words;
  const std::string epoll =
      "tfd: 4 events: 19 data:                4  pos:0\n data:\n data: zz\n data: ff";
  parseEpoll(epoll.data(), epoll.size(), collect, &words);
  EXPECT_EQ(words, (std::vector<uint64_t>{4, 0xff}));
  words.clear();
  const std::string timers =
      "ID: 0\nsignal: 23/00000000c0de\nnotify: signal/pid.7\nsignal: 9\nsignal: ";
  parseTimers(timers.data(), timers.size(), collect, &words);
  EXPECT_EQ(words, (std::vector<uint64_t>{0xc0de}));
}

}  // namespace
}  // namespace graft::gc
