// The other end of a process's control socket (core/prof/control.h): finds it by what /proc says
// the process listens on, asks, and reads the reply. Every failure is one line; nothing is written
// to the process but requests.
#pragma once

#include <sys/types.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace graft::tools {

struct Answer {
  nlohmann::json object;
  std::string bytes;  // what followed an object with "bytes"
};

class ControlClient {
 public:
  ControlClient() = default;
  ~ControlClient();
  ControlClient(const ControlClient&) = delete;
  ControlClient& operator=(const ControlClient&) = delete;

  // Whether a line's "bytes" says how many bytes follow it, as in the reply to `stack`; in others
  // it is a figure like any.
  enum class Bytes { kNone, kFollow };

  // "" or why not. The patience is for each part of a reply.
  std::string connect(pid_t pid, int patience_seconds = 10);
  std::string ask(const std::string& request, std::vector<Answer>& out, Bytes bytes = Bytes::kNone);

 private:
  bool fill();
  bool readLine(std::string& line);
  bool readBytes(size_t n, std::string& out);

  int fd_ = -1;
  std::string buffer_;
};

}  // namespace graft::tools
