// The table of contents of a zip file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/input_file.h"

namespace zerostream {

// A file inside, whose bytes lie in the archive as they are.
struct ZipEntry {
  std::string name;
  int64_t offset = 0;  // from the beginning of the archive
  int64_t bytes = 0;
};

inline constexpr std::string_view kZipMagic = "PK\x03\x04";  // begins every archive with entries

// Reads the central directory, with zip64 records, and checks every entry against the file. Only
// archives on one disk whose entries are neither compressed nor encrypted. Contents are not read:
// their checksums are not verified. Throws CheckpointError naming file and entry.
std::vector<ZipEntry> read_zip_directory(const InputFile& file);

}  // namespace zerostream
