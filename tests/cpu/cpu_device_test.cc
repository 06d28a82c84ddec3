#include "cpu/cpu_device.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <future>
#include <numeric>
#include <thread>
#include <vector>

#include "cpu/cpu_stream.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

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

TEST(CpuStream, CallsReturnBeforeTheWorkIsDoneAndKeepTheirOrder) {
  auto stream = make_stream();
  std::promise<void> gate;
  std::vector<int> order;
  stream->enqueue([&] { gate.get_future().wait(); });
  for (int i = 0; i < 100; ++i) stream->enqueue([&order, i] { order.push_back(i); });
  EXPECT_TRUE(order.empty());
  gate.set_value();
  stream->synchronize();
  std::vector<int> expected(100);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(order, expected);
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

TEST(CpuStream, EventsOrderWorkOfTwoStreams) {
  CpuDevice device({.threads = 2});
  auto copies = device.make_copy_stream();
  auto compute = device.make_compute_stream();
  for (int round = 0; round < 200; ++round) {
    std::vector<int> source(1000, round), target(1000, -1);
    int seen = -1;
    auto event = device.make_event();
    EXPECT_FALSE(event->done());
    copies->copy(target.data(), source.data(), 4000);
    copies->record(*event);
    compute->wait(*event);
    compute->run_on_host([&] { seen = target[999]; });
    auto end = device.make_event();
    compute->record(*end);
    end->wait();
    EXPECT_TRUE(end->done());
    EXPECT_TRUE(event->done());
    EXPECT_EQ(seen, round);
  }
}

TEST(CpuStream, EventIsDoneOnlyWhenItsPointHasPassed) {
  auto stream = make_stream();
  std::promise<void> gate;
  CpuEvent event;
  stream->enqueue([&] { gate.get_future().wait(); });
  stream->record(event);
  EXPECT_FALSE(event.done());
  EXPECT_THROW(stream->record(event), InternalError);
  gate.set_value();
  event.wait();
  EXPECT_TRUE(event.done());
  stream->record(event);
  event.wait();
}

TEST(CpuStream, AWaitIsForTheRecordBeforeIt) {
  auto first = make_stream();
  auto second = make_stream();
  std::promise<void> hold_second, hold_first;
  CpuEvent event, end;
  second->enqueue([&] { hold_second.get_future().wait(); });
  first->record(event);
  event.wait();
  second->wait(event);
  first->enqueue([&] { hold_first.get_future().wait(); });
  first->record(event);
  second->record(end);
  hold_second.set_value();
  end.wait();
  EXPECT_FALSE(event.done());
  hold_first.set_value();
  event.wait();
}

TEST(CpuStream, WaitingForAnEventNeverRecordedThrows) {
  auto stream = make_stream();
  CpuEvent event;
  EXPECT_THROW(stream->wait(event), InternalError);
  EXPECT_THROW(event.wait(), InternalError);
}

TEST(CpuStream, FailureStopsWorkButNotHostTasksAndEvents) {
  auto stream = make_stream();
  bool worked = false, told = false;
  CpuEvent event;
  stream->enqueue([] { throw DeviceError("broken"); });
  stream->enqueue([&] { worked = true; });
  stream->run_on_host([&] { told = true; });
  stream->record(event);
  EXPECT_THROW(event.wait(), DeviceError);
  EXPECT_TRUE(event.done());
  EXPECT_THROW(stream->synchronize(), DeviceError);
  EXPECT_FALSE(worked);
  EXPECT_TRUE(told);
}

TEST(CpuStream, FailurePassesOnThroughEvents) {
  auto first = make_stream();
  auto second = make_stream();
  bool worked = false;
  CpuEvent event;
  first->enqueue([] { throw DeviceError("broken"); });
  first->record(event);
  second->wait(event);
  second->enqueue([&] { worked = true; });
  EXPECT_THROW(second->synchronize(), DeviceError);
  EXPECT_FALSE(worked);
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

TEST(CpuDevice, MemoryIsAligned) {
  CpuDevice device({.threads = 1});
  for (const int64_t bytes : {int64_t{1}, int64_t{5000}, int64_t{5} << 20}) {
    const Buffer buffer = device.allocate(bytes);
    EXPECT_EQ(buffer.size(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % 4096, 0u);
  }
}

}  // namespace
}  // namespace zerostream
