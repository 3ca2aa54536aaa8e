// Reading back what was printed into a temporary file (temp_output.h): its hash, its tail, its last
// line. Positions are explicit, because the writing process shares the file offset.
#include "tools/compare/temp_output.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <stdexcept>

namespace graft::tools::compare {

TempOutput::TempOutput() : file_(tmpfile(), fclose) {
  if (file_ == nullptr) throw std::runtime_error("no temporary file can be made");
  fcntl(fd(), F_SETFD, FD_CLOEXEC);
}

Output TempOutput::hashed() const {
  Output output{0, 0xcbf29ce484222325};
  char buffer[65536];
  for (;;) {
    ssize_t n = pread(fd(), buffer, sizeof buffer, static_cast<off_t>(output.bytes));
    if (n <= 0) return output;
    for (ssize_t i = 0; i < n; i++) {
      output.hash = (output.hash ^ static_cast<unsigned char>(buffer[i])) * 0x100000001b3;
    }
    output.bytes += static_cast<uint64_t>(n);
  }
}

std::string TempOutput::text(size_t most) const {
  struct stat st;
  if (fstat(fd(), &st) != 0) return "";
  auto size = static_cast<size_t>(st.st_size);
  std::string tail(std::min(size, most), '\0');
  ssize_t n = pread(fd(), tail.data(), tail.size(), static_cast<off_t>(size - tail.size()));
  tail.resize(n > 0 ? static_cast<size_t>(n) : 0);
  return tail;
}

std::string TempOutput::lastLine() const {
  constexpr size_t kTail = 2000;
  constexpr size_t kLongest = 300;
  std::string tail = text(kTail);
  tail.erase(tail.find_last_not_of(" \t\r\n") + 1);
  size_t begin = tail.find_last_of("\r\n");
  std::string line = begin == std::string::npos ? tail : tail.substr(begin + 1);
  return line.substr(0, kLongest);
}

}  // namespace graft::tools::compare
