#include "gpu/cuda_device.h"

#include <gmock/gmock.h>
#include <sys/mman.h>

#include <cstring>

#include "base/tensor.h"
#include "gpu/cuda_stream.h"
#include "gpu/locked_memory.h"
#include "tests/cuda_emulator/emulator.h"
#include "tests/support/device_contract.h"

namespace zerostream {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

__global__ void do_nothing(int) {}

class CudaUnderTest : public DeviceUnderTest {
 public:
  ~CudaUnderTest() override { cuda_emulator::reset(); }
  Device& device() override { return device_; }
  void break_stream(Stream& stream) override {
    cuda_emulator::fail_kernel(1);
    dynamic_cast<CudaStream&>(stream).launch("do_nothing", 1, 1, do_nothing, 0);
  }

 private:
  CudaDevice device_;
};

// The tests hold streams by their host tasks.
std::unique_ptr<DeviceUnderTest> make_cuda(int delay_us) {
  cuda_emulator::reset({.delay_us = delay_us, .serial_callbacks = false});
  return std::make_unique<CudaUnderTest>();
}
std::unique_ptr<DeviceUnderTest> make_quick_cuda() { return make_cuda(0); }
std::unique_ptr<DeviceUnderTest> make_slow_cuda() { return make_cuda(300); }
INSTANTIATE_TEST_SUITE_P(Cuda, DeviceContractTest,
                         ::testing::Values(make_quick_cuda, make_slow_cuda));

class CudaDeviceTest : public ::testing::Test {
 protected:
  void SetUp() override { cuda_emulator::reset(); }
  void TearDown() override { cuda_emulator::reset(); }
};

TEST_F(CudaDeviceTest, DescribesItself) {
  const CudaDevice device;
  EXPECT_EQ(device.description(), "Emulated GPU, GPU 0, compute capability 8.0");
  EXPECT_EQ(device.kind(), DeviceKind::kCuda);
  EXPECT_FALSE(device.shares_host_memory());
}

TEST_F(CudaDeviceTest, WithoutAGpuItThrows) {
  EXPECT_THROW(CudaDevice(1), DeviceError);
  EXPECT_THROW(CudaDevice(-1), DeviceError);
  cuda_emulator::reset({.devices = 0});
  EXPECT_EQ(count_cuda_devices(), 0);
  EXPECT_THROW(CudaDevice(), DeviceError);
}

TEST_F(CudaDeviceTest, GpusThatAreTooOldAreNotUsed) {
  const auto text = HasSubstr("compute capability 7.5 is too old: kernels need 8.0");
  EXPECT_EQ(why_no_cuda_device(), "");
  cuda_emulator::reset({.compute_capability = 75});
  EXPECT_THAT(why_no_cuda_device(), text);
  EXPECT_THAT([] { CudaDevice(); }, ThrowsMessage<DeviceError>(text));
}

TEST_F(CudaDeviceTest, FullMemoryNamesTheBytesAskedAndFree) {
  cuda_emulator::reset({.memory_bytes = 100000});
  CudaDevice device;
  const Buffer some = device.allocate(30000);
  EXPECT_THAT([&] { device.allocate(90000); },
              ThrowsMessage<InfeasibleError>(
                  AllOf(HasSubstr("90000 bytes"), HasSubstr("70000 of 100000 bytes are free"))));
  EXPECT_EQ(device.allocate(50000).size(), 50000);
}

TEST_F(CudaDeviceTest, MemoryComesBack) {
  const uint64_t before = cuda_emulator::allocated_bytes();
  CudaDevice device;
  { const Buffer buffer = device.allocate(1 << 20); }
  EXPECT_EQ(cuda_emulator::allocated_bytes(), before);
}

TEST_F(CudaDeviceTest, FailedCallsAreNamedWithTheirDevice) {
  CudaDevice device;
  const auto text = AllOf(HasSubstr("on GPU 0"), HasSubstr("cudaErrorUnknown"));
  cuda_emulator::fail_call("cudaMalloc", 1, cudaErrorUnknown);
  EXPECT_THAT([&] { device.allocate(1); },
              ThrowsMessage<DeviceError>(AllOf(text, HasSubstr("cudaMalloc "))));
  cuda_emulator::fail_call("cudaHostRegister", 1, cudaErrorUnknown);
  EXPECT_THAT([&] { device.allocate_pinned(1); },
              ThrowsMessage<DeviceError>(AllOf(text, HasSubstr("cudaHostRegister "))));
  cuda_emulator::fail_call("cudaStreamCreateWithFlags", 1, cudaErrorUnknown);
  EXPECT_THAT([&] { device.make_copy_stream(); },
              ThrowsMessage<DeviceError>(AllOf(text, HasSubstr("cudaStreamCreateWithFlags "))));
  const auto stream = device.make_compute_stream();
  cuda_emulator::fail_call("cudaLaunchKernelExC", 1, cudaErrorUnknown);
  dynamic_cast<CudaStream&>(*stream).launch("do_nothing", 1, 1, do_nothing, 0);
  EXPECT_THAT([&] { stream->synchronize(); },
              ThrowsMessage<DeviceError>(AllOf(text, HasSubstr("do_nothing "))));
}

TEST_F(CudaDeviceTest, CopiesOfPinnedMemoryAreAsynchronous) {
  CudaDevice device;
  const Buffer pinned = device.allocate_pinned(8192), target = device.allocate(8192);
  const auto stream = device.make_copy_stream();
  const auto event = device.make_event();
  cuda_emulator::reset({.forbid_pageable_copies = true});
  stream->copy(target.data(), pinned.data(), 4096);
  stream->copy(target.data() + 4096, pinned.data() + 4096, 4096);
  stream->record(*event);
  EXPECT_EQ(cuda_emulator::counters().host_synchronisations, 0);
  EXPECT_NO_THROW(event->wait());
  EXPECT_EQ(cuda_emulator::counters().copied_bytes, 8192);
}

// Two pages, the second at an address where registrations end; among those that every sanitizer
// leaves to programs.
Buffer pages_at_a_border() {
  for (int64_t border = 2046 * kBorderBytes; border > 2024 * kBorderBytes; border -= kBorderBytes) {
    void* wanted = reinterpret_cast<void*>(border - kTileBytes);
    void* pages = mmap(wanted, 2 * kTileBytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (pages == wanted)
      return {static_cast<std::byte*>(pages), 2 * kTileBytes,
              [](std::byte* data, int64_t bytes) { munmap(data, static_cast<size_t>(bytes)); }};
  }
  return {};
}

TEST_F(CudaDeviceTest, MemoryIsLockedAndCopiedUpToBorders) {
  CudaDevice device;
  Buffer pages = pages_at_a_border();
  ASSERT_NE(pages.data(), nullptr);
  std::memset(pages.data(), 7, static_cast<size_t>(pages.size()));
  const Buffer target = device.allocate(pages.size()), back = device.allocate_pinned(pages.size());
  const auto stream = device.make_copy_stream();
  cuda_emulator::reset({.forbid_pageable_copies = true});
  {
    const Buffer locked = lock_memory(std::move(pages), 0);
    EXPECT_EQ(cuda_emulator::counters().allocations, 2);
    stream->copy(target.data(), locked.data() + 1, locked.size() - 1);
    stream->copy(back.data(), target.data(), locked.size() - 1);
    EXPECT_NO_THROW(stream->synchronize());
    EXPECT_EQ(std::memcmp(back.data(), locked.data() + 1, locked.size() - 1), 0);
  }
  EXPECT_EQ(cuda_emulator::last_failure(), "");
}

TEST_F(CudaDeviceTest, MemoryThatCannotBeLockedIsLeftAlone) {
  CudaDevice device;
  for (const int nth : {1, 2}) {
    cuda_emulator::fail_call("cudaHostRegister", nth, cudaErrorMemoryAllocation);
    EXPECT_THAT([] { lock_memory(pages_at_a_border(), 0); },
                ThrowsMessage<InfeasibleError>(HasSubstr("cannot lock 8192 bytes")));
  }
  EXPECT_NO_THROW(lock_memory(pages_at_a_border(), 0));
}

}  // namespace
}  // namespace zerostream
