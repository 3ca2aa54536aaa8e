// One run of the program under one runtime: start, watch, reap, clean up, and the measures of it. A
// program is run until it ends; a server is started, loaded, left idle and stopped. Main thread
// only. stdin is /dev/null; stdout is too unless it is to be compared, since a pipe would need a
// reader that competes for the processors.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tools/compare/measures.h"
#include "tools/compare/processes.h"

namespace graft::tools::compare {

struct Load {
  std::string command;  // for sh -c
  int port = 0;  // on 127.0.0.1
  std::string regex;  // empty: the known ones
  double idle_s = 3;
  double start_bound_s = 30;  // for the port to answer
};

struct RunRequest {
  std::vector<std::string> command;
  std::vector<std::string> environment;  // the program's
  std::vector<std::string> load_environment;  // the load's: without any preload
  bool keep_output = false;
  double time_limit_s = 0;  // of the program, or of the load; 0 none
  std::optional<Load> load;
};

// Processes::interrupted() tells whether the run was cut short; it is of no use then.
RunRecord runOnce(Processes& processes, const RunRequest& request);

// 127.0.0.1:port accepts a connection.
bool portAnswers(int port);

}  // namespace graft::tools::compare
