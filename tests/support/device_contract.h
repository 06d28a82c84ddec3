// What base/device.h promises, as tests over any device. A test program of a device includes this
// once and instantiates DeviceContractTest.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <future>
#include <memory>
#include <numeric>
#include <vector>

#include "base/device.h"
#include "zerostream/error.h"

namespace zerostream {

class DeviceUnderTest {
 public:
  virtual ~DeviceUnderTest() = default;
  virtual Device& device() = 0;
  // Enqueues work on a compute stream that fails with a DeviceError when the stream gets there.
  virtual void break_stream(Stream& stream) = 0;
};

class DeviceContractTest : public ::testing::TestWithParam<std::unique_ptr<DeviceUnderTest> (*)()> {
 protected:
  // Stops a stream where hold() is called until open() is.
  class Gate {
   public:
    void hold(Stream& stream) {
      stream.run_on_host([this] { opened_.get_future().wait(); });
    }
    void open() { opened_.set_value(); }

   private:
    std::promise<void> opened_;
  };

  const std::unique_ptr<DeviceUnderTest> under_test_ = GetParam()();
  Device& device_ = under_test_->device();
};

TEST_P(DeviceContractTest, MemoryIsAlignedAndOfTheSizeAskedFor) {
  for (const int64_t bytes : {int64_t{1}, int64_t{5000}, int64_t{5} << 20})
    for (const bool pinned : {false, true}) {
      const Buffer buffer = pinned ? device_.allocate_pinned(bytes) : device_.allocate(bytes);
      EXPECT_EQ(buffer.size(), bytes);
      const bool of_host = pinned || device_.shares_host_memory();
      EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % (of_host ? 4096 : 256), 0u);
    }
  EXPECT_EQ(device_.allocate(0).size(), 0);
}

TEST_P(DeviceContractTest, CopiesGoBetweenAllKindsOfMemory) {
  constexpr int64_t kBytes = 10001;
  std::vector<char> source(kBytes), target(kBytes);
  std::iota(source.begin(), source.end(), char{1});
  const Buffer pinned = device_.allocate_pinned(kBytes), first = device_.allocate(kBytes),
               second = device_.allocate(kBytes), back = device_.allocate_pinned(kBytes);
  const auto stream = device_.make_copy_stream();
  stream->copy(pinned.data(), source.data(), kBytes);
  stream->copy(first.data(), pinned.data(), kBytes);
  stream->copy(second.data(), first.data(), kBytes);
  stream->copy(back.data(), second.data(), kBytes);
  stream->copy(target.data(), back.data(), kBytes);
  stream->synchronize();
  EXPECT_EQ(target, source);
}

TEST_P(DeviceContractTest, CallsReturnBeforeTheWorkIsDoneAndKeepTheirOrder) {
  const auto stream = device_.make_compute_stream();
  Gate gate;
  std::vector<int> order;
  gate.hold(*stream);
  for (int i = 0; i < 100; ++i) stream->run_on_host([&order, i] { order.push_back(i); });
  EXPECT_TRUE(order.empty());
  gate.open();
  stream->synchronize();
  std::vector<int> expected(100);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(order, expected);
}

TEST_P(DeviceContractTest, MoreHostTasksThanAreKept) {
  const auto stream = device_.make_copy_stream();
  int count = 0;
  for (int i = 0; i < 2000; ++i) stream->run_on_host([&count] { ++count; });
  stream->synchronize();
  EXPECT_EQ(count, 2000);
}

TEST_P(DeviceContractTest, EventsOrderWorkOfTwoStreams) {
  const auto copies = device_.make_copy_stream(), compute = device_.make_compute_stream();
  const Buffer source = device_.allocate_pinned(4000), slot = device_.allocate(4000),
               target = device_.allocate_pinned(4000);
  for (int round = 0; round < 100; ++round) {
    std::fill_n(source.as<int>(), 1000, round);
    const auto ready = device_.make_event(), end = device_.make_event();
    EXPECT_FALSE(ready->done());
    copies->copy(slot.data(), source.data(), 4000);
    copies->record(*ready);
    compute->wait(*ready);
    compute->copy(target.data(), slot.data(), 4000);
    compute->record(*end);
    end->wait();
    EXPECT_TRUE(end->done());
    EXPECT_TRUE(ready->done());
    EXPECT_EQ(target.as<int>()[999], round);
  }
}

TEST_P(DeviceContractTest, EventIsDoneOnlyWhenItsPointHasPassed) {
  const auto stream = device_.make_compute_stream();
  const auto event = device_.make_event();
  Gate gate;
  gate.hold(*stream);
  stream->record(*event);
  EXPECT_FALSE(event->done());
  EXPECT_THROW(stream->record(*event), InternalError);
  gate.open();
  event->wait();
  EXPECT_TRUE(event->done());
  stream->record(*event);
  event->wait();
}

TEST_P(DeviceContractTest, AWaitIsForTheRecordBeforeIt) {
  const auto first = device_.make_compute_stream(), second = device_.make_copy_stream();
  const auto event = device_.make_event(), end = device_.make_event();
  Gate hold_second, hold_first;
  hold_second.hold(*second);
  first->record(*event);
  event->wait();
  second->wait(*event);
  hold_first.hold(*first);
  first->record(*event);
  second->record(*end);
  hold_second.open();
  end->wait();
  EXPECT_FALSE(event->done());
  hold_first.open();
  event->wait();
}

TEST_P(DeviceContractTest, WaitingForAnEventNeverRecordedThrows) {
  const auto stream = device_.make_compute_stream();
  const auto event = device_.make_event();
  EXPECT_FALSE(event->done());
  EXPECT_THROW(stream->wait(*event), InternalError);
  EXPECT_THROW(event->wait(), InternalError);
}

TEST_P(DeviceContractTest, FailureStopsWorkButNotHostTasksAndEvents) {
  const Buffer source = device_.allocate_pinned(4), target = device_.allocate_pinned(4);
  *source.as<int>() = 7;
  {
    const auto stream = device_.make_compute_stream();
    const auto event = device_.make_event(), later = device_.make_event();
    int told = 0;
    under_test_->break_stream(*stream);
    stream->copy(target.data(), source.data(), 4);
    stream->run_on_host([&] { ++told; });
    stream->record(*event);
    EXPECT_THROW(event->wait(), DeviceError);
    EXPECT_TRUE(event->done());
    EXPECT_THROW(stream->synchronize(), DeviceError);
    stream->run_on_host([&] { ++told; });
    stream->record(*later);
    EXPECT_THROW(later->wait(), DeviceError);
    EXPECT_EQ(told, 2);
  }
  EXPECT_EQ(*target.as<int>(), 0);
}

TEST_P(DeviceContractTest, FailurePassesOnThroughEvents) {
  const Buffer source = device_.allocate_pinned(4), target = device_.allocate_pinned(4);
  *source.as<int>() = 7;
  {
    const auto first = device_.make_compute_stream(), second = device_.make_copy_stream();
    const auto event = device_.make_event();
    under_test_->break_stream(*first);
    first->record(*event);
    second->wait(*event);
    second->copy(target.data(), source.data(), 4);
    EXPECT_THROW(second->synchronize(), DeviceError);
  }
  EXPECT_EQ(*target.as<int>(), 0);
}

}  // namespace zerostream
