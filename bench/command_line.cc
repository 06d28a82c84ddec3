#include "bench/command_line.h"

#include <cstdio>
#include <optional>

#include "base/bytes.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

template <typename Value>
Value checked(const std::optional<Value>& value, const std::string& option, const std::string& kind,
              const std::string& word) {
  if (!value) throw CLI::ValidationError(option + ": expected a " + kind + ", not '" + word + "'");
  return *value;
}

}  // namespace

CLI::Option* add_bytes(CLI::App& app, const std::string& name, int64_t& bytes,
                       const std::string& help) {
  const auto store = [&bytes, name](const std::string& word) {
    bytes = checked(parse_bytes(word), name, "size", word);
  };
  return app.add_option_function<std::string>(name, store, help)->type_name("SIZE");
}

CLI::Option* add_dtype(CLI::App& app, const std::string& name, DType& dtype,
                       const std::string& help) {
  const auto store = [&dtype, name](const std::string& word) {
    dtype = checked(dtype_from_name(word), name, "dtype", word);
  };
  return app.add_option_function<std::string>(name, store, help)->type_name("DTYPE");
}

CLI::Option* add_dtypes(CLI::App& app, const std::string& name, std::vector<DType>& dtypes,
                        const std::string& help) {
  const auto store = [&dtypes, name](const std::vector<std::string>& words) {
    dtypes.clear();
    for (const std::string& word : words)
      dtypes.push_back(checked(dtype_from_name(word), name, "dtype", word));
  };
  return app.add_option_function<std::vector<std::string>>(name, store, help)->type_name("DTYPE");
}

int run_bench(CLI::App& app, int argc, char** argv, const std::function<void()>& run) {
  CLI11_PARSE(app, argc, argv);
  try {
    run();
  } catch (const Error& error) {
    std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
    return static_cast<int>(error.code());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
    return 1;
  }
  return 0;
}

}  // namespace zerostream
