#include "tests/cli/subprocess.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "base/require.h"
#include "tests/support/temp_dir.h"

namespace zerostream {
namespace {

void redirect(int descriptor, const std::string& path, int flags) {
  const int file = open(path.c_str(), flags, 0666);
  if (file < 0 || dup2(file, descriptor) < 0) _exit(126);
}

}  // namespace

Command::Command(const std::vector<std::string>& arguments, const std::string& folder,
                 const std::string& input, const std::function<void()>& prepare)
    : folder_(folder) {
  write_file(folder + "/.stdin", input);
  std::vector<char*> argv = {const_cast<char*>("zerostream")};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  process_ = fork();
  require(process_ >= 0, "a process can be made");
  if (process_ > 0) return;
  redirect(STDIN_FILENO, folder + "/.stdin", O_RDONLY);
  redirect(STDOUT_FILENO, folder + "/.stdout", O_WRONLY | O_CREAT | O_TRUNC);
  redirect(STDERR_FILENO, folder + "/.stderr", O_WRONLY | O_CREAT | O_TRUNC);
  setenv("XDG_CACHE_HOME", (folder + "/cache").c_str(), 1);
  if (prepare) prepare();
  if (chdir(folder.c_str()) == 0) execv(ZS_COMMAND, argv.data());
  _exit(127);
}

Command::~Command() {
  if (process_ < 0) return;
  kill(process_, SIGKILL);
  wait();
}

CommandResult Command::wait() {
  int status = 0;
  waitpid(process_, &status, 0);
  process_ = -1;
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return {code, read_file(folder_ + "/.stdout"), read_file(folder_ + "/.stderr")};
}

CommandResult run_command(const std::vector<std::string>& arguments, const std::string& folder,
                          const std::string& input, const std::function<void()>& prepare) {
  return Command(arguments, folder, input, prepare).wait();
}

}  // namespace zerostream
