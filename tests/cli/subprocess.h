// Runs the `zerostream` command as users do.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

namespace zerostream {

struct CommandResult {
  int exit_code = 0;  // 128 + signal for a command that a signal ended
  std::string out, err;
};

// A running command. Its cache folder is `cache` and its working folder `folder`; stdout and stderr
// go to files there. `prepare` is called in its process before it begins.
class Command {
 public:
  Command(const std::vector<std::string>& arguments, const std::string& folder,
          const std::string& input = "", const std::function<void()>& prepare = {});
  ~Command();  // kills it if it still runs
  Command(const Command&) = delete;
  Command& operator=(const Command&) = delete;
  pid_t process() const { return process_; }
  CommandResult wait();

 private:
  std::string folder_;
  pid_t process_ = -1;
};

CommandResult run_command(const std::vector<std::string>& arguments, const std::string& folder,
                          const std::string& input = "", const std::function<void()>& prepare = {});

}  // namespace zerostream
