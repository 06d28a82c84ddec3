// What ThreadSanitizer sees of the threads of a kernel. Built with it only.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/cuda_emulator/emulator.h"

namespace {

using ::testing::ExitedWithCode;

constexpr unsigned kThreads = 64;
constexpr int kExitCodeOfRaces = 66;

enum class Between { kNothing, kBarrier, kWarpBarrier, kHalfWarpBarrier, kShuffle, kVote };

__device__ void order(Between between) {
  if (between == Between::kBarrier) __syncthreads();
  if (between == Between::kWarpBarrier) __syncwarp();
  if (between == Between::kHalfWarpBarrier) __syncwarp(threadIdx.x % 32 < 16 ? 0xffff : 0xffff0000);
  if (between == Between::kShuffle) __shfl_xor_sync(~0u, 0, 1);
  if (between == Between::kVote) __any_sync(~0u, 1);
}

// A thread reads what another has written.
__global__ void read_after_write(int* results, Between between, unsigned distance) {
  __shared__ int numbers[kThreads];
  numbers[threadIdx.x] = 1;
  order(between);
  results[threadIdx.x] = numbers[threadIdx.x ^ distance];
}

// A thread writes what another has read; there are barriers before and after.
__global__ void write_after_read(int* results, Between between, unsigned distance) {
  __shared__ int numbers[kThreads];
  numbers[threadIdx.x] = 1;
  __syncthreads();
  results[threadIdx.x] = numbers[threadIdx.x ^ distance];
  order(between);
  numbers[threadIdx.x] = 2;
  __syncthreads();
}

// Threads write what all read, by turns.
__global__ void write_by_turns(int* results, Between between, unsigned distance) {
  for (unsigned turn = 0; turn < 4; ++turn) {
    if (threadIdx.x == turn * distance) results[0] = 1;
    order(between);
    results[1 + threadIdx.x] += results[0];
    order(between);
  }
}

// Distance 0: threads add to the same number.
__global__ void count(int* results, Between between, unsigned distance) {
  atomicAdd(&results[threadIdx.x * distance], 1);
  order(between);
  if (threadIdx.x == 0) results[1] = results[0];
}

// Fails after the first barrier, where threads have read what a later kernel writes.
__global__ void fail(int* results, Between, unsigned) {
  __shared__ int number;
  if (threadIdx.x == 0) number = results[0];
  __syncthreads();
  results[threadIdx.x] = number;
  if (threadIdx.x > 0) __syncthreads();
}

// Runs a kernel twice, over two blocks, and ends the process.
[[noreturn]] void run(void (*kernel)(int*, Between, unsigned), Between between, unsigned distance) {
  cudaLaunchConfig_t config;
  config.gridDim = 2;
  config.blockDim = kThreads;
  cudaStreamCreateWithFlags(&config.stream, cudaStreamNonBlocking);
  void* results = nullptr;
  cudaMalloc(&results, 2 * kThreads * sizeof(int));
  cudaError_t error = cudaSuccess;
  for (int i = 0; i < 2; ++i) {
    cuda_emulator::reset();
    cudaLaunchKernelEx(&config, kernel, static_cast<int*>(results), between, distance);
    error = cudaStreamSynchronize(config.stream);
  }
  cudaStreamDestroy(config.stream);
  std::exit(error == cudaSuccess ? EXIT_SUCCESS : EXIT_FAILURE);
}

#define EXPECT_RACE(...) \
  EXPECT_EXIT(run(__VA_ARGS__), ExitedWithCode(kExitCodeOfRaces), "data race")
#define EXPECT_ORDER(...) EXPECT_EXIT(run(__VA_ARGS__), ExitedWithCode(EXIT_SUCCESS), "")

class RacesDeathTest : public ::testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(RacesDeathTest, ThreadsOfABlockAreOrderedByBarriers) {
  for (const auto kernel : {read_after_write, write_after_read}) {
    EXPECT_RACE(kernel, Between::kNothing, 32);
    EXPECT_ORDER(kernel, Between::kNothing, 0);
    EXPECT_ORDER(kernel, Between::kBarrier, 32);
  }
  EXPECT_RACE(write_by_turns, Between::kNothing, 16);
  EXPECT_ORDER(write_by_turns, Between::kBarrier, 16);
}

TEST_F(RacesDeathTest, LanesAreOrderedByBarriersOfTheirWarp) {
  for (const auto kernel : {read_after_write, write_after_read}) {
    EXPECT_RACE(kernel, Between::kNothing, 1);
    EXPECT_ORDER(kernel, Between::kWarpBarrier, 16);
    EXPECT_RACE(kernel, Between::kWarpBarrier, 32);
    EXPECT_ORDER(kernel, Between::kHalfWarpBarrier, 1);
    EXPECT_RACE(kernel, Between::kHalfWarpBarrier, 16);
  }
}

TEST_F(RacesDeathTest, ShufflesAndVotesOrderNoMemory) {
  EXPECT_RACE(read_after_write, Between::kShuffle, 1);
  EXPECT_RACE(read_after_write, Between::kVote, 1);
}

TEST_F(RacesDeathTest, AFailedKernelComesBeforeALaterOne) {
  EXPECT_EXIT(run(fail, Between::kNothing, 0), ExitedWithCode(EXIT_FAILURE), "");
}

TEST_F(RacesDeathTest, AtomicsRaceOnlyWithOtherAccesses) {
  EXPECT_RACE(count, Between::kNothing, 0);
  EXPECT_ORDER(count, Between::kBarrier, 0);
}

}  // namespace
