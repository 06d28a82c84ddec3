// Packed stores that are made on demand and kept.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace zerostream {

// A store in the cache folder.
struct CachedStore {
  std::string path;
  int64_t bytes = 0;  // on the disk
  bool complete = false;
  std::chrono::system_clock::time_point last_used;  // by open_or_pack
};

// The stores below `cache_root`, oldest use first; none if there is no such folder.
std::vector<CachedStore> list_cached_stores(const std::string& cache_root);

// Removes it; waits for a packer that works on it.
void remove_cached_store(const CachedStore& store);

}  // namespace zerostream
