#include <filesystem>

#include "model/checkpoint_content.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/fuzz_targets.h"
#include "tests/support/temp_dir.h"

namespace zerostream {

void fuzz_checkpoint_folder(std::string_view input) {
  const std::vector<std::string> parts = split_parts(input, 4);
  const TempDir parent;
  const std::string folder = parent.file("model");
  std::filesystem::create_directory(folder);
  write_file(parent.file("a"), parts[2]);  // not of the model, whatever the index says
  write_file(folder + "/config.json", parts[0]);
  write_file(folder + "/model.safetensors.index.json", parts[1]);
  write_file(folder + "/a", parts[2]);
  write_file(folder + "/b", parts[3]);
  const CheckpointContent content = open_folder(folder, FolderWeights::kRead);
  for (const InputFile& file : content.files)
    expect(file.path() == folder + "/a" || file.path() == folder + "/b",
           "an index names files of its folder");
}

}  // namespace zerostream
