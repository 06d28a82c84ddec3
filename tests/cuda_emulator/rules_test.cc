// What the emulated runtime refuses although some drivers let it pass.
#include <cuda_runtime.h>
#include <gmock/gmock.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>

#include "base/buffer.h"
#include "tests/cuda_emulator/emulator.h"
#include "tests/cuda_emulator/sanitizers.h"

namespace {

using ::testing::HasSubstr;

class EmulatorRulesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    cuda_emulator::reset();
    ASSERT_EQ(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), cudaSuccess);
  }
  void TearDown() override {
    cudaStreamDestroy(stream_);
    cuda_emulator::reset();
  }

  cudaStream_t stream_ = nullptr;
};

TEST_F(EmulatorRulesTest, CallsFromACallbackBreakTheDevice) {
  const std::pair<cudaHostFn_t, const char*> calls[] = {
      {[](void*) { cudaSetDevice(0); }, "cudaSetDevice is called from a callback"},
      {[](void* event) { cudaEventQuery(static_cast<cudaEvent_t>(event)); }, "cudaEventQuery "},
      {[](void* event) { cudaEventDestroy(static_cast<cudaEvent_t>(event)); }, "cudaEventDestroy "},
      {[](void*) { cudaFree(nullptr); }, "cudaFree "},
      {[](void*) { cudaFreeHost(nullptr); }, "cudaFreeHost "},
      {[](void*) { cudaHostUnregister(nullptr); }, "cudaHostUnregister "}};
  for (const auto& [call, text] : calls) {
    cudaEvent_t event = nullptr;
    ASSERT_EQ(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), cudaSuccess);
    cudaLaunchHostFunc(stream_, call, event);
    EXPECT_EQ(cudaStreamSynchronize(stream_), cudaErrorNotPermitted);
    EXPECT_THAT(cuda_emulator::last_failure(), HasSubstr(text));
    cuda_emulator::reset();
    cudaEventDestroy(event);
  }
}

TEST_F(EmulatorRulesTest, CallbacksRunOneAtATime) {
  if (cuda_emulator::kTsan) GTEST_SKIP() << "their races are looked for";
  cudaStream_t other = nullptr;
  ASSERT_EQ(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking), cudaSuccess);
  struct Seen {
    std::atomic<int> running{0}, most{0};
  } seen;
  const cudaHostFn_t callback = [](void* data) {
    auto& own = *static_cast<Seen*>(data);
    own.most = std::max<int>(own.most, ++own.running);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    --own.running;
  };
  for (int i = 0; i < 3; ++i)
    for (const cudaStream_t stream : {stream_, other}) cudaLaunchHostFunc(stream, callback, &seen);
  cudaStreamSynchronize(stream_);
  cudaStreamSynchronize(other);
  EXPECT_EQ(seen.most, 1);
  cudaStreamDestroy(other);
}

TEST_F(EmulatorRulesTest, RegistrationsDoNotOverlap) {
  const zerostream::Buffer memory = zerostream::allocate_host(4 * 4096);
  std::byte* data = memory.data();
  ASSERT_EQ(cudaHostRegister(data + 4096, 2 * 4096, cudaHostRegisterPortable), cudaSuccess);
  for (const int page : {0, 1, 2})
    EXPECT_EQ(cudaHostRegister(data + page * 4096, 2 * 4096, cudaHostRegisterPortable),
              cudaErrorHostMemoryAlreadyRegistered);
  EXPECT_EQ(cudaHostRegister(data + 3 * 4096, 4096, cudaHostRegisterPortable), cudaSuccess);
  EXPECT_EQ(cudaHostUnregister(data + 4096), cudaSuccess);
  EXPECT_EQ(cudaHostUnregister(data + 3 * 4096), cudaSuccess);
}

}  // namespace
