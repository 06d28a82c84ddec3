// The emulated CUDA runtime: what CUDA promises, and the mistakes that it must catch.
#include "tests/cuda_emulator/emulator.h"

#include <gmock/gmock.h>

#include <atomic>
#include <future>
#include <numeric>
#include <vector>

#include "tests/cuda_emulator/sanitizers.h"

namespace {

using ::testing::HasSubstr;

__global__ void sum_blocks(const int* source, int* sums, int count) {
  __shared__ int partial[64];
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  partial[threadIdx.x] = i < count ? source[i] : 0;
  __syncthreads();
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) partial[threadIdx.x] += partial[threadIdx.x + half];
    __syncthreads();
  }
  if (threadIdx.x == 0) atomicAdd(sums, partial[0]);
}

__global__ void warp_operations(int* results) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  int sum = lane;
  for (int bits = 16; bits > 0; bits /= 2) sum += __shfl_xor_sync(~0u, sum, bits);
  results[threadIdx.x * 4] = sum;
  results[threadIdx.x * 4 + 1] = __shfl_up_sync(~0u, lane, 3);
  results[threadIdx.x * 4 + 2] = __shfl_sync(~0u, lane, 5, 8);
  results[threadIdx.x * 4 + 3] = static_cast<int>(__ballot_sync(~0u, lane % 3 == 0));
}

__global__ void vote(int* results) {
  results[threadIdx.x] = __syncthreads_count(threadIdx.x % 5 == 0);
}

__global__ void diverge_at_barriers(int* data) {
  if (threadIdx.x < 16) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  data[0] = 1;
}

__global__ void return_before_barrier(int* data) {
  if (threadIdx.x == 7) return;
  __syncthreads();
  data[0] = 1;
}

__global__ void shuffle_without_a_lane(int* data) {
  if (threadIdx.x != 3) data[threadIdx.x] = __shfl_xor_sync(~0u, 1, 1);
}

__global__ void write_at(int* data, int index) { data[index] = 1; }

class EmulatorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    cuda_emulator::reset();
    ASSERT_EQ(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), cudaSuccess);
  }
  void TearDown() override {
    cudaStreamDestroy(stream_);
    for (void* memory : memory_) cudaFree(memory);
    cuda_emulator::reset();
  }

  int* device_ints(const std::vector<int>& values) {
    void* memory = nullptr;
    EXPECT_EQ(cudaMalloc(&memory, values.size() * sizeof(int)), cudaSuccess);
    EXPECT_EQ(
        cudaMemcpy(memory, values.data(), values.size() * sizeof(int), cudaMemcpyHostToDevice),
        cudaSuccess);
    memory_.push_back(memory);
    return static_cast<int*>(memory);
  }
  std::vector<int> host_ints(const int* memory, size_t count) {
    std::vector<int> values(count);
    EXPECT_EQ(cudaMemcpy(values.data(), memory, count * sizeof(int), cudaMemcpyDeviceToHost),
              cudaSuccess);
    return values;
  }
  template <typename... Parameters, typename... Arguments>
  cudaError_t launch(unsigned grid, unsigned block, void (*kernel)(Parameters...),
                     Arguments... arguments) {
    cudaLaunchConfig_t config;
    config.gridDim = grid;
    config.blockDim = block;
    config.stream = stream_;
    const cudaError_t error = cudaLaunchKernelEx(&config, kernel, arguments...);
    return error != cudaSuccess ? error : cudaStreamSynchronize(stream_);
  }

  cudaStream_t stream_ = nullptr;
  std::vector<void*> memory_;
};

TEST_F(EmulatorTest, BlocksShareMemoryAndMeetAtBarriers) {
  for (const uint64_t seed : {0, 1, 2}) {
    cuda_emulator::reset({.schedule_seed = seed});
    std::vector<int> numbers(1000);
    std::iota(numbers.begin(), numbers.end(), 1);
    int* sums = device_ints({0});
    ASSERT_EQ(launch(16, 64, sum_blocks, device_ints(numbers), sums, 1000), cudaSuccess);
    EXPECT_EQ(host_ints(sums, 1)[0], 500500);
    EXPECT_EQ(cuda_emulator::counters().launches, 1);
  }
}

TEST_F(EmulatorTest, LanesExchangeValues) {
  int* results = device_ints(std::vector<int>(256));
  ASSERT_EQ(launch(1, 64, warp_operations, results), cudaSuccess);
  const std::vector<int> values = host_ints(results, 256);
  for (int thread = 0; thread < 64; ++thread) {
    const int lane = thread % 32;
    const int* got = &values[static_cast<size_t>(thread) * 4];
    EXPECT_EQ(got[0], 496);
    EXPECT_EQ(got[1], lane < 3 ? lane : lane - 3);
    EXPECT_EQ(got[2], lane / 8 * 8 + 5);
    EXPECT_EQ(got[3], 0x49249249);
  }
}

TEST_F(EmulatorTest, BarriersCountVotes) {
  int* results = device_ints(std::vector<int>(96));
  ASSERT_EQ(launch(1, 96, vote, results), cudaSuccess);
  EXPECT_THAT(host_ints(results, 96), ::testing::Each(20));
}

TEST_F(EmulatorTest, WrongMeetingsBreakTheDeviceAndAreNamed) {
  const std::pair<void (*)(int*), const char*> cases[] = {
      {diverge_at_barriers, "different barriers"},
      {return_before_barrier, "1 have returned"},
      {shuffle_without_a_lane, "waits at the warp operation"}};
  for (const auto& [kernel, text] : cases) {
    int* data = device_ints(std::vector<int>(32));
    EXPECT_EQ(launch(1, 32, kernel, data), cudaErrorLaunchFailure);
    EXPECT_THAT(cuda_emulator::last_failure(), HasSubstr(text));
    EXPECT_THAT(cuda_emulator::last_failure(), HasSubstr("emulator_test.cc:"));
    void* memory = nullptr;
    EXPECT_EQ(cudaMalloc(&memory, 16), cudaErrorLaunchFailure);
    cuda_emulator::reset();
  }
}

TEST_F(EmulatorTest, ACopyHappensWhenItsStreamGetsThere) {
  void *pinned = nullptr, *target = nullptr;
  ASSERT_EQ(cudaHostAlloc(&pinned, 4, cudaHostAllocDefault), cudaSuccess);
  ASSERT_EQ(cudaHostAlloc(&target, 4, cudaHostAllocDefault), cudaSuccess);
  std::promise<void> gate;
  cudaLaunchHostFunc(
      stream_, [](void* gate) { static_cast<std::promise<void>*>(gate)->get_future().wait(); },
      &gate);
  *static_cast<int*>(pinned) = 1;
  ASSERT_EQ(cudaMemcpyAsync(target, pinned, 4, cudaMemcpyDefault, stream_), cudaSuccess);
  *static_cast<int*>(pinned) = 2;
  gate.set_value();
  ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  EXPECT_EQ(*static_cast<int*>(target), 2);
  EXPECT_EQ(cuda_emulator::counters().copied_bytes, 4);
  EXPECT_EQ(cuda_emulator::counters().pageable_copies, 0);
  cudaFreeHost(pinned);
  cudaFreeHost(target);
}

TEST_F(EmulatorTest, EventsOrderStreams) {
  cudaStream_t other = nullptr;
  cudaEvent_t event = nullptr;
  ASSERT_EQ(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking), cudaSuccess);
  ASSERT_EQ(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), cudaSuccess);
  std::promise<void> gate;
  std::atomic<bool> passed = false;
  cudaLaunchHostFunc(
      stream_, [](void* gate) { static_cast<std::promise<void>*>(gate)->get_future().wait(); },
      &gate);
  cudaEventRecord(event, stream_);
  cudaStreamWaitEvent(other, event);
  cudaLaunchHostFunc(
      other, [](void* passed) { *static_cast<std::atomic<bool>*>(passed) = true; }, &passed);
  EXPECT_EQ(cudaEventQuery(event), cudaErrorNotReady);
  EXPECT_FALSE(passed);
  gate.set_value();
  EXPECT_EQ(cudaStreamSynchronize(other), cudaSuccess);
  EXPECT_TRUE(passed);
  EXPECT_EQ(cudaEventQuery(event), cudaSuccess);
  cudaEventDestroy(event);
  cudaStreamDestroy(other);
}

TEST_F(EmulatorTest, UnrecordedEventsAreRefused) {
  cudaEvent_t event = nullptr;
  ASSERT_EQ(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), cudaSuccess);
  EXPECT_EQ(cudaStreamWaitEvent(stream_, event), cudaErrorInvalidValue);
  EXPECT_EQ(cudaEventSynchronize(event), cudaErrorInvalidValue);
  EXPECT_EQ(cudaEventQuery(event), cudaErrorInvalidValue);
  cudaEventDestroy(event);
}

TEST_F(EmulatorTest, CopiesAreChecked) {
  int* device = device_ints({1, 2, 3});
  std::vector<int> host(8);
  EXPECT_EQ(cudaMemcpyAsync(host.data(), device, 16, cudaMemcpyDefault, stream_),
            cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpyAsync(host.data(), device, 12, cudaMemcpyHostToDevice, stream_),
            cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpyAsync(host.data(), device, 12, cudaMemcpyDeviceToHost, stream_), cudaSuccess);
  EXPECT_EQ(host[2], 3);
  EXPECT_EQ(cuda_emulator::counters().pageable_copies, 1);
  cuda_emulator::reset({.forbid_pageable_copies = true});
  EXPECT_EQ(cudaMemcpyAsync(host.data(), device, 12, cudaMemcpyDeviceToHost, stream_),
            cudaErrorInvalidValue);
}

TEST_F(EmulatorTest, RowsAreCopiedWithTheirPitches) {
  int* source = device_ints({1, 2, 3, 4, 5, 6});
  int* target = device_ints({0, 0, 0, 0});
  EXPECT_EQ(cudaMemcpy2DAsync(target, 8, source, 12, 8, 2, cudaMemcpyDeviceToDevice, stream_),
            cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  EXPECT_THAT(host_ints(target, 4), ::testing::ElementsAre(1, 2, 4, 5));
}

TEST_F(EmulatorTest, MemoryIsLimitedAndCounted) {
  cuda_emulator::reset({.memory_bytes = 10000});
  void *first = nullptr, *second = nullptr;
  EXPECT_EQ(cudaMalloc(&first, 6000), cudaSuccess);
  EXPECT_EQ(cudaMalloc(&second, 6000), cudaErrorMemoryAllocation);
  EXPECT_EQ(second, nullptr);
  size_t free = 0, total = 0;
  EXPECT_EQ(cudaMemGetInfo(&free, &total), cudaSuccess);
  EXPECT_EQ(total, 10000u);
  EXPECT_EQ(free, 4000u);
  EXPECT_EQ(cudaFree(first), cudaSuccess);
  EXPECT_EQ(cudaFree(first), cudaErrorInvalidValue);
  EXPECT_EQ(cuda_emulator::counters().allocations, 2);
}

TEST_F(EmulatorTest, AFailedKernelBreaksTheDeviceButCallbacksHearOfIt) {
  int* data = device_ints({0});
  std::promise<cudaError_t> heard;
  cuda_emulator::fail_kernel(2);
  std::promise<void> gate;
  cudaLaunchHostFunc(
      stream_, [](void* gate) { static_cast<std::promise<void>*>(gate)->get_future().wait(); },
      &gate);
  const cudaLaunchConfig_t config = {.stream = stream_};
  EXPECT_EQ(cudaLaunchKernelEx(&config, write_at, data, 0), cudaSuccess);
  EXPECT_EQ(cudaLaunchKernelEx(&config, write_at, data, 0), cudaSuccess);
  cudaStreamAddCallback(
      stream_,
      [](cudaStream_t, cudaError_t status, void* heard) {
        static_cast<std::promise<cudaError_t>*>(heard)->set_value(status);
      },
      &heard, 0);
  gate.set_value();
  EXPECT_EQ(cudaStreamSynchronize(stream_), cudaErrorIllegalAddress);
  EXPECT_EQ(heard.get_future().get(), cudaErrorIllegalAddress);
}

TEST_F(EmulatorTest, PlannedFailures) {
  cuda_emulator::fail_call("cudaMalloc", 2, cudaErrorUnknown);
  void *first = nullptr, *second = nullptr;
  EXPECT_EQ(cudaMalloc(&first, 8), cudaSuccess);
  EXPECT_EQ(cudaMalloc(&second, 8), cudaErrorUnknown);
  EXPECT_EQ(cudaGetLastError(), cudaErrorUnknown);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  cudaFree(first);
}

TEST_F(EmulatorTest, LaunchesAreChecked) {
  int* data = device_ints({0});
  EXPECT_EQ(launch(0, 32, write_at, data, 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launch(1, 1056, write_at, data, 0), cudaErrorInvalidConfiguration);
}

using EmulatorDeathTest = EmulatorTest;

TEST_F(EmulatorDeathTest, KernelsCannotLeaveAnAllocation) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  int* data = device_ints(std::vector<int>(64));
  EXPECT_DEATH(launch(1, 1, write_at, data, 64), "");
}

TEST_F(EmulatorDeathTest, WritesIntoTheSlackShowWhenMemoryIsFreed) {
  if (cuda_emulator::kAsan) GTEST_SKIP() << "AddressSanitizer stops at the write";
  int* data = device_ints({0});
  EXPECT_EQ(launch(1, 1, write_at, data, 1), cudaSuccess);
  EXPECT_EQ(cudaFree(data), cudaErrorInvalidValue);
  EXPECT_THAT(cuda_emulator::last_failure(), HasSubstr("past the end of an allocation of 4 bytes"));
  memory_.pop_back();
}

}  // namespace
