// Kernels of a GPU beside the reference: host matrices, their images on the device.
#pragma once

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "cpu/cpu_device.h"
#include "cpu/reference_kernels.h"
#include "gpu/cuda_device.h"
#include "gpu/cuda_kernels.h"
#include "tests/cpu/kernel_fixture.h"

namespace zerostream {

// Device memory of exactly the bytes asked for, so that a kernel that leaves it faults.
class DeviceImage {
 public:
  DeviceImage(const void* source, int64_t bytes) : bytes_(static_cast<size_t>(bytes)) {
    EXPECT_EQ(cudaMalloc(&data_, bytes_), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(data_, source, bytes_, cudaMemcpyHostToDevice), cudaSuccess);
    // The last bytes of pageable memory may be on their way yet, and our streams do not wait.
    EXPECT_EQ(cudaStreamSynchronize(nullptr), cudaSuccess);
  }
  ~DeviceImage() { EXPECT_EQ(cudaFree(data_), cudaSuccess); }
  DeviceImage(const DeviceImage&) = delete;

  std::byte* data() const { return static_cast<std::byte*>(data_); }
  void read(void* target) const {
    EXPECT_EQ(cudaMemcpy(target, data_, bytes_, cudaMemcpyDeviceToHost), cudaSuccess);
  }

 private:
  void* data_ = nullptr;
  size_t bytes_;
};

class GpuKernelsTest : public ::testing::Test {
 protected:
  // Images live until the next call of clear().
  template <typename T>
  T* on_device(const std::vector<T>& values) {
    return reinterpret_cast<T*>(
        image(values.data(), static_cast<int64_t>(values.size() * sizeof(T))));
  }
  const float* floats_on_device(const Matrix& matrix) {
    return reinterpret_cast<const float*>(on_device(matrix).data);
  }
  // What lies behind the last row is not part of the image.
  TensorView on_device(const Matrix& matrix) {
    TensorView view = matrix.view();
    view.data = image(view.data, bytes_of(matrix));
    return view;
  }
  // A source of linear(): behind the columns of every row lie zeros up to its stride.
  TensorView source_on_device(const Matrix& matrix) {
    TensorView view = matrix.view();
    view.data = image(view.data, dtype_bytes(view.dtype, view.rows * view.row_stride));
    return view;
  }
  void read(const TensorView& device, Matrix& target) const {
    EXPECT_EQ(cudaMemcpy(target.view().data, device.data, static_cast<size_t>(bytes_of(target)),
                         cudaMemcpyDeviceToHost),
              cudaSuccess);
  }
  // The blocks -blocks .. blocks - 1 of a pool.
  KvLayerView on_device(const KvPool& pool, int32_t blocks) {
    KvLayerView view = pool.view();
    const int64_t before = blocks * view.block_bytes;
    view.base = image(view.base - before, 2 * before) + before;
    return view;
  }
  void read(const KvLayerView& device, const KvPool& target, int32_t blocks) const {
    const int64_t before = blocks * device.block_bytes;
    EXPECT_EQ(cudaMemcpy(target.view().base - before, device.base - before,
                         static_cast<size_t>(2 * before), cudaMemcpyDeviceToHost),
              cudaSuccess);
  }
  // Spans whose block tables lie on the device.
  const SequenceSpan* on_device(std::vector<SequenceSpan> spans,
                                const std::vector<std::vector<int32_t>>& tables) {
    for (size_t i = 0; i < spans.size(); ++i) spans[i].block_table = on_device(tables[i]);
    return on_device(spans);
  }
  void clear() { images_.clear(); }
  // Waits for the kernels and the reference.
  void finish() {
    stream_->synchronize();
    reference_stream_->synchronize();
  }

  CudaDevice device_;
  CudaKernels kernels_{device_, {.max_vocabulary = 5000}};
  std::unique_ptr<Stream> stream_ = device_.make_compute_stream();
  CpuDevice reference_device_{{.threads = 1}};
  ReferenceKernels reference_;
  std::unique_ptr<Stream> reference_stream_ = reference_device_.make_compute_stream();

 private:
  static int64_t bytes_of(const Matrix& matrix) {
    const TensorView& view = matrix.view();
    return dtype_bytes(view.dtype, (view.rows - 1) * view.row_stride + view.cols);
  }
  std::byte* image(const void* source, int64_t bytes) {
    if (bytes == 0) return nullptr;
    images_.push_back(std::make_unique<DeviceImage>(source, bytes));
    return images_.back()->data();
  }
  std::vector<std::unique_ptr<DeviceImage>> images_;
};

inline constexpr DType kFloatTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

}  // namespace zerostream
