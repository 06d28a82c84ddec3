#include "cpu/cpu_device.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <future>
#include <numeric>
#include <thread>
#include <vector>

#include "cpu/cpu_stream.h"
#include "tests/support/device_contract.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

class CpuUnderTest : public DeviceUnderTest {
 public:
  Device& device() override { return device_; }
  void break_stream(Stream& stream) override {
    dynamic_cast<CpuStream&>(stream).enqueue([] { throw DeviceError("broken"); });
  }

 private:
  CpuDevice device_{{.threads = 2}};
};

std::unique_ptr<DeviceUnderTest> make_cpu() { return std::make_unique<CpuUnderTest>(); }
INSTANTIATE_TEST_SUITE_P(Cpu, DeviceContractTest, ::testing::Values(make_cpu));

std::unique_ptr<CpuStream> make_stream(int workers = 1) {
  return std::make_unique<CpuStream>(CpuStreamOptions{.workers = workers, .scratch_bytes = 100});
}

TEST(WorkerPool, EveryIndexRunsOnce) {
  for (const int workers : {1, 2, 5}) {
    WorkerPool pool(workers, "test");
    EXPECT_EQ(pool.workers(), workers);
    for (const int64_t count : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> calls(static_cast<size_t>(count));
      pool.parallel_for(count, [&](int worker, int64_t index) {
        EXPECT_LT(worker, workers);
        ++calls[static_cast<size_t>(index)];
      });
      for (const auto& n : calls) EXPECT_EQ(n, 1);
    }
  }
}

TEST(WorkerPool, ManyShortLoops) {
  WorkerPool pool(4, "test");
  int64_t total = 0;
  for (int round = 0; round < 5000; ++round) {
    std::atomic<int64_t> sum{0};
    pool.parallel_for(round % 9, [&](int, int64_t index) { sum += index + 1; });
    total += sum;
    if (round % 1000 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  int64_t expected = 0;
  for (int64_t round = 0; round < 5000; ++round) expected += (round % 9) * (round % 9 + 1) / 2;
  EXPECT_EQ(total, expected);
}

TEST(WorkerPool, AllWorkersTakePart) {
  WorkerPool pool(3, "test");
  std::atomic<int> waiting{0};
  pool.parallel_for(3, [&](int, int64_t) {
    ++waiting;
    while (waiting < 3) std::this_thread::yield();
  });
  EXPECT_EQ(waiting, 3);
}

TEST(WorkerPool, ExceptionReachesTheCaller) {
  WorkerPool pool(3, "test");
  for (int round = 0; round < 100; ++round) {
    EXPECT_THROW(pool.parallel_for(50,
                                   [](int, int64_t index) {
                                     if (index == 20) throw InternalError("twenty");
                                   }),
                 InternalError);
    int64_t sum = 0;
    pool.parallel_for(1, [&](int, int64_t index) { sum += index + 1; });
    EXPECT_EQ(sum, 1);
  }
}

TEST(CpuStream, FullQueueBlocksTheCaller) {
  auto stream = make_stream();
  std::promise<void> gate;
  std::atomic<int> pushed{0};
  stream->enqueue([&] { gate.get_future().wait(); });
  std::thread producer([&] {
    for (int i = 0; i < 1000; ++i) {
      stream->enqueue([] {});
      ++pushed;
    }
  });
  while (pushed < static_cast<int>(CpuStream::kQueueTasks) - 1) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(pushed, static_cast<int>(CpuStream::kQueueTasks) - 1);
  gate.set_value();
  producer.join();
  stream->synchronize();
}

TEST(CpuStream, DestructorRunsWhatIsQueued) {
  int done = 0;
  {
    auto stream = make_stream();
    for (int i = 0; i < 50; ++i) stream->enqueue([&] { ++done; });
  }
  EXPECT_EQ(done, 50);
}

TEST(CpuStream, ScratchIsSeparatePerWorker) {
  auto stream = make_stream(3);
  EXPECT_GE(stream->scratch_bytes(), 100);
  stream->enqueue([&] {
    for (int worker = 0; worker < 3; ++worker)
      std::memset(stream->scratch(worker), worker, static_cast<size_t>(stream->scratch_bytes()));
    for (int worker = 0; worker < 3; ++worker)
      if (stream->scratch(worker)[0] != std::byte(worker)) throw InternalError("overlap");
  });
  EXPECT_NO_THROW(stream->synchronize());
}

TEST(CpuDevice, OptionsAreHonoured) {
  const CpuDevice device({.threads = 3, .max_isa = CpuIsa::kAvx2});
  EXPECT_EQ(device.threads(), 3);
  EXPECT_EQ(device.isa(), CpuIsa::kAvx2);
  EXPECT_TRUE(device.shares_host_memory());
  EXPECT_NE(device.description().find("AVX2, 3 threads"), std::string::npos)
      << device.description();
  EXPECT_GE(CpuDevice().threads(), 1);
  EXPECT_THROW(CpuDevice({.threads = -1}), UsageError);
}

}  // namespace
}  // namespace zerostream
