// Command lines of the benches: CLI11 reads them, this adds sizes and one way to end.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/dtype.h"

namespace zerostream {

// "--memory 900MiB": a number of bytes, with or without a unit.
CLI::Option* add_bytes(CLI::App& app, const std::string& name, int64_t& bytes,
                       const std::string& help);
// "--dtype bf16".
CLI::Option* add_dtype(CLI::App& app, const std::string& name, DType& dtype,
                       const std::string& help);
// One or more dtypes; those given take the place of `dtypes`.
CLI::Option* add_dtypes(CLI::App& app, const std::string& name, std::vector<DType>& dtypes,
                        const std::string& help);

// Parses and runs; what main() returns. Errors are printed.
int run_bench(CLI::App& app, int argc, char** argv, const std::function<void()>& run);

}  // namespace zerostream
