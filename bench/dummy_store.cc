#include "bench/dummy_store.h"

#include <cstdio>

#include "model/checkpoint.h"

namespace zerostream {

PackedStore open_or_pack_dummy(const std::string& model, const std::string& store,
                               PackOptions options) {
  if (!PackedStore::is_store(store)) {
    std::printf("packing random weights into %s\n", store.c_str());
    options.dummy_weights = true;
    pack_store(Checkpoint::open_config_only(model), store, options);
  }
  return PackedStore::open(store);
}

}  // namespace zerostream
