// What tests of the command have in common.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "model/json.h"
#include "tests/cli/subprocess.h"
#include "tests/support/temp_dir.h"

namespace zerostream {

inline const std::string kModel = ZS_TEST_DATA "/llama2";

inline std::vector<Json> parse_lines(const std::string& text) {
  std::vector<Json> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    lines.push_back(Json::parse(text.substr(begin, end - begin)));
    begin = end + 1;
  }
  return lines;
}

class CliTest : public testing::Test {
 protected:
  CommandResult command(const std::vector<std::string>& arguments, const std::string& input = "") {
    return run_command(arguments, folder_.path().string(), input);
  }
  // `run` of the tiny model over in.jsonl into out.jsonl.
  std::vector<std::string> run_arguments(const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = {"run",      "--model",  kModel,      "--input",
                                          "in.jsonl", "--output", "out.jsonl", "--quiet"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  void write(const std::string& name, const std::string& text) {
    write_file(folder_.file(name), text);
  }
  std::string read(const std::string& name) { return read_file(folder_.file(name)); }
  void write_rows(int count, int max_new_tokens = 3) {
    std::string text;
    for (int i = 0; i < count; ++i)
      text += R"({"prompt_token_ids": [)" + std::to_string(1 + i % 90) + R"(, 7], "max_tokens": )" +
              std::to_string(max_new_tokens) + "}\n";
    write("in.jsonl", text);
  }
  void expect_error(const std::vector<std::string>& arguments, int code, const std::string& part) {
    const CommandResult result = command(arguments);
    EXPECT_EQ(result.exit_code, code) << result.err;
    EXPECT_THAT(result.err, testing::AllOf(testing::HasSubstr("zerostream: error: "),
                                           testing::HasSubstr(part)));
    EXPECT_EQ(result.out, "");
  }

  // Waits until a running command has written so much.
  void wait_for_output(uintmax_t bytes) {
    for (int i = 0; i < 3000; ++i) {
      std::error_code error;
      const uintmax_t size = std::filesystem::file_size(folder_.file("out.jsonl"), error);
      if (!error && size >= bytes) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }

  TempDir folder_;
};

}  // namespace zerostream
