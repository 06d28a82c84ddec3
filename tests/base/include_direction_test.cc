// Includes point down the table of folders: a folder may include itself, the public headers and
// what stands in its row, nothing else. Public headers include only each other.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace zerostream {
namespace {

namespace fs = std::filesystem;

const std::map<std::string, std::set<std::string>> kMayInclude = {
    {"base", {}},
    {"nvme", {"base"}},
    {"cpu", {"base"}},
    {"gpu", {"base"}},
    {"comm", {"base"}},
    {"model", {"base"}},
    {"prefetch", {"base", "nvme"}},
    {"offload", {"base", "nvme", "cpu", "gpu", "comm", "model", "prefetch"}},
    {"cli", {"base", "model", "offload"}},
    {"include", {}},
};

// Each backend is named by at most this many files outside its own folder: where backends are
// chosen.
const std::map<std::string, int> kFilesThatName = {{"cpu", 1}, {"gpu", 1}, {"comm", 1}};

fs::path source_root() { return fs::path(ZS_TEST_DATA).parent_path().parent_path(); }

bool is_source(const fs::path& path) {
  const std::string extension = path.extension();
  return extension == ".h" || extension == ".cc" || extension == ".cu" || extension == ".cuh";
}

std::string read(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// The folders of this project that `text` includes from.
std::set<std::string> included_folders(const std::string& text) {
  static const std::regex include(R"((?:^|\n)[ \t]*#[ \t]*include[ \t]*[<"]([^/>"]+)/)");
  std::set<std::string> folders;
  for (std::sregex_iterator match(text.begin(), text.end(), include), end; match != end; ++match) {
    const std::string folder = (*match)[1];
    if (kMayInclude.contains(folder) || folder == "zerostream" || folder == "tests") {
      folders.insert(folder);
    }
  }
  return folders;
}

// What `text`, a file of `folder`, includes against the table.
std::vector<std::string> violations(const std::string& folder, const std::string& text) {
  std::vector<std::string> found;
  for (const std::string& included : included_folders(text)) {
    const bool allowed =
        included == folder || included == "zerostream" || kMayInclude.at(folder).contains(included);
    if (!allowed) found.push_back(folder + " includes " + included);
  }
  return found;
}

std::vector<fs::path> sources_of(const std::string& folder) {
  std::vector<fs::path> sources;
  if (!fs::exists(source_root() / folder)) return sources;
  for (const auto& entry : fs::recursive_directory_iterator(source_root() / folder)) {
    if (is_source(entry.path())) sources.push_back(entry.path());
  }
  return sources;
}

TEST(IncludeDirection, FindsIncludesThatPointUpOrSideways) {
  EXPECT_THAT(violations("nvme", "#include <vector>\n#include \"base/bytes.h\"\n"),
              testing::IsEmpty());
  EXPECT_THAT(violations("nvme", "#include \"base/bytes.h\"\n#include \"prefetch/prefetcher.h\"\n"),
              testing::ElementsAre("nvme includes prefetch"));
  EXPECT_THAT(violations("cpu", "#include \"model/config.h\"\n"),
              testing::ElementsAre("cpu includes model"));
  EXPECT_THAT(violations("base", "  #  include \"tests/support/temp_dir.h\"\n"),
              testing::ElementsAre("base includes tests"));
}

TEST(IncludeDirection, PointsDownTheTableOfFolders) {
  int files = 0;
  for (const auto& [folder, allowed] : kMayInclude) {
    for (const fs::path& path : sources_of(folder)) {
      ++files;
      EXPECT_THAT(violations(folder, read(path)), testing::IsEmpty()) << path;
    }
  }
  EXPECT_GT(files, 50) << "is " << source_root() << " the source tree?";
}

TEST(IncludeDirection, BackendsAreNamedInOneFile) {
  for (const auto& [backend, limit] : kFilesThatName) {
    std::vector<std::string> names;
    for (const auto& [folder, allowed] : kMayInclude) {
      if (folder == backend) continue;
      for (const fs::path& path : sources_of(folder)) {
        if (included_folders(read(path)).contains(backend)) names.push_back(path);
      }
    }
    EXPECT_LE(static_cast<int>(names.size()), limit) << testing::PrintToString(names);
  }
}

TEST(IncludeDirection, EveryFolderOfSourcesIsInTheTable) {
  const std::set<std::string> free_to_include = {"tests", "bench", "examples"};
  for (const auto& entry : fs::directory_iterator(source_root())) {
    const std::string folder = entry.path().filename();
    if (!fs::exists(entry.path() / "CMakeLists.txt") || folder.starts_with("build")) continue;
    EXPECT_TRUE(kMayInclude.contains(folder) || free_to_include.contains(folder)) << folder;
  }
}

}  // namespace
}  // namespace zerostream
