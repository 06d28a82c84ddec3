#include <charconv>
#include <chrono>
#include <iostream>
#include <memory>

#include "base/bytes.h"
#include "base/printf_text.h"
#include "cli/commands.h"
#include "offload/cache_folder.h"
#include "offload/store_cache.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

using std::chrono::seconds;

struct CleanFlags {
  std::string older_than = "0s";
  bool dry_run = false;
};

// "30d", "12h", "90m", "10s".
seconds parse_age(const std::string& text) {
  int64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [unit, error] = std::from_chars(text.data(), end, number);
  constexpr int64_t kMost = 1'000'000;
  if (error == std::errc() && end - unit == 1 && number >= 0 && number <= kMost) {
    if (*unit == 'd') return std::chrono::hours(24 * number);
    if (*unit == 'h') return std::chrono::hours(number);
    if (*unit == 'm') return std::chrono::minutes(number);
    if (*unit == 's') return seconds(number);
  }
  throw UsageError("--older-than " + text + ": expected an age such as 30d, 12h, 90m or 10s");
}

void clean(const CleanFlags& flags) {
  const seconds age = parse_age(flags.older_than);
  const auto newest = std::chrono::system_clock::now() - age;
  int64_t bytes = 0, count = 0;
  for (const CachedStore& store : list_cached_stores(user_cache_folder())) {
    const bool goes = store.last_used <= newest;
    if (goes && !flags.dry_run) remove_cached_store(store);
    if (goes) bytes += store.bytes, ++count;
    std::cout << (!goes           ? "kept   "
                  : flags.dry_run ? "would remove"
                                  : "removed")
              << "  " << format_bytes(store.bytes) << "  " << store.path
              << (store.complete ? "" : "  (incomplete)") << "\n";
  }
  std::cout << (flags.dry_run ? "would free " : "freed ") << format_bytes(bytes) << " of "
            << count_text(count, "store") << " in " << user_cache_folder() << "\n";
}

}  // namespace

void add_clean(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<CleanFlags>();
  CLI::App* command =
      app.add_subcommand("clean", "Lists and removes packed stores in the cache folder");
  command->add_option("--older-than", flags->older_than,
                      "Only those not used for that long: 30d, 12h, 90m, 10s");
  command->add_flag("--dry-run", flags->dry_run, "Lists, but removes nothing");
  command->callback([=, &exit_code] {
    clean(*flags);
    exit_code = 0;
  });
}

}  // namespace zerostream
