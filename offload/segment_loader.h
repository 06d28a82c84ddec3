// The way of whole segments into memory before a run.
#pragma once

#include <exception>
#include <memory>
#include <vector>

#include "base/device.h"
#include "nvme/io_engine.h"
#include "nvme/transfer.h"
#include "offload/packed_store.h"

namespace zerostream {

// Reads segments of a store and compares their digests.
//
// Threads: one. Errors: finish() throws the first of reading, of a digest, or of the device.
class SegmentLoader {
 public:
  // References outlive this. `engine` serves nobody else meanwhile.
  SegmentLoader(const File& weights, Device& device, IoEngine& engine,
                const TransferOptions& transfer);
  ~SegmentLoader();

  // Into host memory, or memory of a device that shares it; returns at once.
  void read(const Segment& segment, std::byte* memory);
  // Into memory of any device, through pinned memory where it must be.
  void load(const Segment& segment, std::byte* memory);
  // Returns when everything is there.
  void finish();

 private:
  struct Upload;
  void upload(const Segment& segment, std::byte* memory);

  const File& weights_;
  Device& device_;
  TransferQueue queue_;
  std::exception_ptr failure_;
  std::unique_ptr<Upload> upload_;
};

}  // namespace zerostream
