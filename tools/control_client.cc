// See control_client.h. A socket is the process's if it is in its descriptor table and bound to a
// name that ends in /PID.sock, its id as it sees it itself; a container's root is looked through.
#include "tools/control_client.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

namespace graft::tools {
namespace {

namespace fs = std::filesystem;

std::string ownIdOf(pid_t pid) {
  std::ifstream status(fmt::format("/proc/{}/status", pid));
  for (std::string line; std::getline(status, line);) {
    if (line.compare(0, 6, "NSpid:") == 0) return line.substr(line.find_last_of(" \t") + 1);
  }
  return std::to_string(pid);
}

std::set<std::string> socketsOf(pid_t pid, std::error_code& error) {
  std::set<std::string> inodes;
  for (fs::directory_iterator at(fmt::format("/proc/{}/fd", pid), error), end; !error && at != end;
       at.increment(error)) {
    std::error_code gone;
    std::string target = fs::read_symlink(at->path(), gone).string();
    if (target.compare(0, 8, "socket:[") == 0) {
      inodes.insert(target.substr(8, target.size() - 9));
    }
  }
  return inodes;
}

// Rows of /proc/net/unix: Num RefCount Protocol Flags Type St Inode Path
std::string listenerOf(pid_t pid, std::error_code& error) {
  std::set<std::string> inodes = socketsOf(pid, error);
  std::string tail = "/" + ownIdOf(pid) + ".sock";
  std::ifstream table(fmt::format("/proc/{}/net/unix", pid));
  for (std::string line; !error && std::getline(table, line);) {
    std::istringstream words(line);
    std::string num, count, protocol, flags, type, state, inode, path;
    words >> num >> count >> protocol >> flags >> type >> state >> inode;
    std::getline(words >> std::ws, path);
    bool listens = flags == "00010000";
    bool named = path.size() > tail.size() && path.ends_with(tail) && path[0] == '/';
    if (listens && named && inodes.count(inode) != 0) return path;
  }
  return "";
}

bool runsOnGraft(pid_t pid) {
  std::ifstream maps(fmt::format("/proc/{}/maps", pid));
  for (std::string line; std::getline(maps, line);) {
    if (line.ends_with("/libgraft.so")) return true;
  }
  return false;
}

}  // namespace

ControlClient::~ControlClient() {
  if (fd_ >= 0) close(fd_);
}

std::string ControlClient::connect(pid_t pid, int patience_seconds) {
  if (!fs::exists(fmt::format("/proc/{}", pid))) return fmt::format("there is no process {}", pid);
  std::error_code error;
  std::string path = listenerOf(pid, error);
  if (error) return fmt::format("process {}: {}", pid, error.message());
  if (path.empty() && !runsOnGraft(pid)) {
    return fmt::format(
        "process {} does not run on graft; `graft run --control=on -- PROGRAM` starts one that can "
        "be asked",
        pid);
  }
  if (path.empty()) {
    return fmt::format(
        "process {} has no control socket; it has one from its first thread on if it is started "
        "with GRAFT_CONTROL=on",
        pid);
  }
  // The name may be too long for a socket address: by way of its folder.
  std::string folder = fmt::format("/proc/{}/root{}", pid, fs::path(path).parent_path().string());
  int at = open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::string way = fmt::format("/proc/self/fd/{}/{}", at, fs::path(path).filename().string());
  way.copy(name.sun_path, sizeof name.sun_path - 1);
  fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  bool done =
      at >= 0 && fd_ >= 0 && ::connect(fd_, reinterpret_cast<sockaddr*>(&name), sizeof name) == 0;
  int why = errno;
  if (at >= 0) close(at);
  timeval patience{patience_seconds, 0};
  if (done) setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  return done ? "" : fmt::format("{}: {}", path, std::strerror(why));
}

bool ControlClient::fill() {
  char part[65536];
  ssize_t n;
  do {
    n = recv(fd_, part, sizeof part, 0);
  } while (n < 0 && errno == EINTR);
  if (n > 0) buffer_.append(part, static_cast<size_t>(n));
  return n > 0;
}

bool ControlClient::readLine(std::string& line) {
  size_t searched = 0, end;
  while ((end = buffer_.find('\n', searched)) == std::string::npos) {
    searched = buffer_.size();
    if (!fill()) return false;
  }
  line = buffer_.substr(0, end);
  buffer_.erase(0, end + 1);
  return true;
}

bool ControlClient::readBytes(size_t n, std::string& out) {
  while (buffer_.size() < n) {
    if (!fill()) return false;
  }
  out = buffer_.substr(0, n);
  buffer_.erase(0, n);
  return true;
}

std::string ControlClient::ask(const std::string& request, std::vector<Answer>& out, Bytes bytes) {
  out.clear();
  std::string line = request + "\n";
  if (send(fd_, line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size())) {
    return fmt::format("the process does not listen: {}", std::strerror(errno));
  }
  while (readLine(line)) {
    if (line == "ok") return "";
    if (line.compare(0, 7, "error: ") == 0) return line.substr(7);
    Answer a;
    a.object = nlohmann::json::parse(line, nullptr, false);
    if (a.object.is_discarded()) return "the process's answer is no JSON";
    bool follow = bytes == Bytes::kFollow && a.object.contains("bytes");
    if (follow && !readBytes(a.object.at("bytes").get<size_t>(), a.bytes)) break;
    out.push_back(std::move(a));
  }
  return "the process's answer breaks off";
}

}  // namespace graft::tools
