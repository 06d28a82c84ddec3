#include "prefetch/prefetcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <deque>
#include <future>
#include <map>
#include <random>
#include <thread>

#include "base/digest.h"
#include "cpu/cpu_device.h"
#include "nvme/event_fd.h"
#include "nvme/faulty_engine.h"
#include "nvme/null_engine.h"
#include "nvme/throttled_engine.h"
#include "tests/support/count_allocations.h"
#include "tests/support/separate_memory_device.h"
#include "tests/support/temp_dir.h"
#include "tests/support/test_bytes.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

constexpr int64_t kPage = 4096;

struct Case {
  bool shares_memory;
  IoEngineKind engine;
};

// One language for all tests: a file of known bytes, a prefetcher over it, fetches of runs of
// pages.
class PrefetcherTest : public testing::TestWithParam<Case> {
 protected:
  PrefetcherTest() {
    if (GetParam().shares_memory)
      device_ = std::make_unique<CpuDevice>(CpuDeviceOptions{.threads = 1});
    else
      device_ = std::make_unique<SeparateMemoryDevice>();
    write_file(path_, bytes_);
    file_ = File::open(path_, {.direct = true});
  }
  void SetUp() override {
    try {
      make_engine();
    } catch (const UsageError& error) {
      GTEST_SKIP() << error.what();
    }
  }

  std::unique_ptr<IoEngine> make_engine() { return make_io_engine(GetParam().engine, 4, nullptr); }
  static PrefetcherOptions options(int depth, int64_t ring_pages) {
    return {.transfer = {.block_size = 4 * kPage},
            .queue_depth = 4,
            .ring_bytes = ring_pages * kPage,
            .prefetch_depth = depth,
            .pinned_bytes = 12 * kPage};
  }
  void start(int depth, int64_t ring_pages, std::unique_ptr<IoEngine> engine = nullptr) {
    prefetcher_ = std::make_unique<Prefetcher>(*device_, options(depth, ring_pages),
                                               engine ? std::move(engine) : make_engine());
  }
  FetchTicket fetch(int64_t page, int64_t bytes) {
    return prefetcher_->submit({.file = &file_, .offset = page * kPage, .bytes = bytes});
  }
  // Waits as a compute stream would.
  static std::byte* arrive(const FetchTicket& ticket) {
    ticket->wait();
    if (ticket->ready_event() != nullptr) ticket->ready_event()->wait();
    return ticket->data();
  }
  bool holds(const FetchTicket& ticket, int64_t page, int64_t bytes) {
    return std::memcmp(arrive(ticket), bytes_.data() + page * kPage, static_cast<size_t>(bytes)) ==
           0;
  }
  static int holding(const std::vector<FetchTicket>& tickets) {
    int count = 0;
    for (const FetchTicket& ticket : tickets)
      count += ticket->state() == FetchState::kReading || ticket->state() == FetchState::kReady;
    return count;
  }
  // Waits up to 10 s for something that will happen soon.
  template <typename Condition>
  static bool comes(Condition condition) {
    for (int i = 0; i < 10000 && !condition(); ++i) std::this_thread::sleep_for(milliseconds(1));
    return condition();
  }
  template <typename Body>
  static void expect_io_error(int number, const std::string& text, Body body) {
    try {
      body();
      ADD_FAILURE() << "nothing was thrown";
    } catch (const IoError& error) {
      EXPECT_EQ(error.error_number(), number) << error.what();
      EXPECT_THAT(error.what(), HasSubstr(text));
    }
  }

  TempDir dir_;
  std::string path_ = dir_.file("store");
  const std::string bytes_ = test_bytes(256 * kPage + 1000);
  std::unique_ptr<Device> device_;
  File file_;
  std::unique_ptr<Prefetcher> prefetcher_;
};

TEST_P(PrefetcherTest, BringsEverySegmentInOrder) {
  for (int depth : {0, 1, 3}) {
    start(depth, 40);
    std::vector<FetchTicket> tickets;
    for (int64_t i = 0; i < 24; ++i) tickets.push_back(fetch(i * 10, (i % 10) * kPage + i * 100));
    for (int64_t i = 0; i < 24; ++i) {
      EXPECT_TRUE(holds(tickets[i], i * 10, (i % 10) * kPage + i * 100)) << i;
      EXPECT_EQ(reinterpret_cast<uintptr_t>(tickets[i]->data()) % kPage, 0u);
      EXPECT_EQ(tickets[i]->ready_event() == nullptr, GetParam().shares_memory);
      prefetcher_->release(tickets[i]);
    }
    EXPECT_EQ(prefetcher_->counters().fetches, 24);
  }
}

TEST_P(PrefetcherTest, TailUpToTheEndOfTheFile) {
  start(1, 300);
  EXPECT_TRUE(holds(fetch(0, 256 * kPage + 1000), 0, 256 * kPage + 1000));
}

TEST_P(PrefetcherTest, HoldsOneMoreSlotThanItsDepth) {
  for (int depth : {1, 2, 5}) {
    start(depth, 100);
    std::vector<FetchTicket> tickets;
    for (int64_t i = 0; i < 12; ++i) tickets.push_back(fetch(i, kPage));
    for (int64_t i = 0; i < 12; ++i) {
      tickets[i]->wait();
      const int expected = std::min<int>(depth + 1, 12 - static_cast<int>(i));
      EXPECT_TRUE(comes([&] { return holding(tickets) == expected; })) << holding(tickets);
      std::this_thread::sleep_for(milliseconds(2));
      EXPECT_EQ(holding(tickets), expected);
      prefetcher_->release(tickets[i]);
    }
  }
}

TEST_P(PrefetcherTest, DepthZeroFetchesOnlyWhatIsWaitedFor) {
  start(0, 8);
  const FetchTicket first = fetch(0, kPage);
  const FetchTicket second = fetch(1, kPage);
  std::this_thread::sleep_for(milliseconds(5));
  EXPECT_EQ(first->state(), FetchState::kQueued);
  EXPECT_TRUE(holds(first, 0, kPage));
  EXPECT_EQ(second->state(), FetchState::kQueued);
  prefetcher_->release(first);
  std::this_thread::sleep_for(milliseconds(5));
  EXPECT_EQ(second->state(), FetchState::kQueued);
  EXPECT_TRUE(holds(second, 1, kPage));
}

TEST_P(PrefetcherTest, SegmentAsLargeAsTheRing) {
  start(4, 16);
  std::vector<FetchTicket> tickets;
  for (int i = 0; i < 5; ++i) tickets.push_back(fetch(i * 16, i % 2 == 0 ? 16 * kPage : kPage));
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(holds(tickets[i], i * 16, i % 2 == 0 ? 16 * kPage : kPage));
    prefetcher_->release(tickets[i]);
  }
  EXPECT_THROW(fetch(0, 16 * kPage + 1), InternalError);
}

// A slow reader finds its bytes, and then its own marks, untouched while fetches go on around it.
TEST_P(PrefetcherTest, PiecesLandOneBehindTheOther) {
  PrefetcherOptions given = options(1, 16);
  Buffer ring = device_->allocate(given.ring_bytes);
  given.ring_memory = ring.data();
  prefetcher_ = std::make_unique<Prefetcher>(*device_, given, make_engine());
  const Buffer pinned = device_->allocate_pinned(20 * kPage);
  std::memcpy(pinned.data(), bytes_.data(), static_cast<size_t>(pinned.size()));
  const std::vector<FilePiece> pieces = {{3 * kPage, 2 * kPage}, {0, kPage}, {6 * kPage, kPage}};
  for (int i = 0; i < 10; ++i) {
    const bool in_memory = i % 2 == 1 && !device_->shares_host_memory();
    const FetchTicket ticket =
        prefetcher_->submit({.file = &file_,
                             .offset = i * kPage,
                             .bytes = 4 * kPage,
                             .pieces = pieces,
                             .source = in_memory ? pinned.data() + i * kPage : nullptr});
    std::byte* data = arrive(ticket);
    EXPECT_GE(data, ring.data());
    EXPECT_LE(data + 4 * kPage, ring.data() + ring.size());
    for (const FilePiece& piece : pieces) {
      EXPECT_EQ(std::memcmp(data, bytes_.data() + i * kPage + piece.offset, piece.bytes), 0);
      data += piece.bytes;
    }
    prefetcher_->release(ticket);
  }
}

// Only on the way to memory of the device's own.
TEST_P(PrefetcherTest, PinnedMemoryIsCopiedAmongReads) {
  if (GetParam().shares_memory) GTEST_SKIP() << "host memory is the slot";
  const Buffer pinned = device_->allocate_pinned(20 * kPage);
  std::memcpy(pinned.data(), bytes_.data(), static_cast<size_t>(pinned.size()));
  start(2, 60);
  std::deque<FetchTicket> tickets;
  for (int64_t i = 0; i < 40; ++i) {
    const bool in_memory = i % 3 != 0;
    tickets.push_back(
        prefetcher_->submit({.file = &file_,
                             .offset = i % 9 * kPage,
                             .bytes = 11 * kPage,
                             .source = in_memory ? pinned.data() + i % 9 * kPage : nullptr}));
  }
  for (int64_t i = 0; i < 40; ++i) {
    EXPECT_TRUE(holds(tickets[i], i % 9, 11 * kPage)) << i;
    prefetcher_->release(tickets[i]);
  }
  EXPECT_EQ(prefetcher_->counters().bytes_read, 14 * 11 * kPage);
}

TEST_P(PrefetcherTest, DigestsAreComparedOnTheWay) {
  if (GetParam().shares_memory) GTEST_SKIP() << "who waits compares";
  start(2, 120);
  const int64_t bytes = 37 * kPage;  // more than all buffers hold
  const uint64_t digest = digest_of(std::string_view(bytes_).substr(0, bytes));
  for (int i = 0; i < 5; ++i) {
    const FetchTicket right =
        prefetcher_->submit({.file = &file_, .bytes = bytes, .digest = digest});
    EXPECT_TRUE(holds(right, 0, bytes));
    prefetcher_->release(right);
  }
  const FetchTicket wrong = prefetcher_->submit(
      {.file = &file_, .bytes = bytes, .digest = digest + 1, .name = "layers.3"});
  EXPECT_THAT([&] { wrong->wait(); }, testing::ThrowsMessage<CheckpointError>(testing::AllOf(
                                          HasSubstr("\"layers.3\""), HasSubstr("damaged"))));
}

TEST_P(PrefetcherTest, SlotIsNotReusedBeforeItsRelease) {
  start(3, 23);
  std::deque<FetchTicket> tickets;
  int64_t next = 0;
  const auto pages = [](int64_t i) { return 1 + i * 7 % 11; };
  for (int64_t i = 0; i < 100; ++i) {
    for (; next < 100 && next < i + 6; ++next)
      tickets.push_back(fetch(next * 2, pages(next) * kPage));
    const FetchTicket ticket = tickets.front();
    tickets.pop_front();
    const int64_t size = pages(i) * kPage;
    std::byte* data = arrive(ticket);
    std::this_thread::sleep_for(std::chrono::microseconds(300));
    EXPECT_TRUE(holds(ticket, i * 2, size)) << i;
    std::memset(data, 0xa5, static_cast<size_t>(size));
    std::this_thread::sleep_for(std::chrono::microseconds(300));
    for (int64_t at = 0; at < size; at += 512) ASSERT_EQ(data[at], std::byte{0xa5});
    prefetcher_->release(ticket);
  }
}

TEST_P(PrefetcherTest, FailureOfOneFailsAllLaterOnes) {
  start(3, 64, make_faulty_engine(make_engine(), {.bad_offset = 5 * 8 * kPage + 9000}));
  std::vector<FetchTicket> tickets;
  for (int64_t i = 0; i < 12; ++i) tickets.push_back(fetch(i * 8, 8 * kPage));
  for (int64_t i = 0; i < 5; ++i) {
    EXPECT_TRUE(holds(tickets[i], i * 8, 8 * kPage)) << i;
    prefetcher_->release(tickets[i]);
  }
  for (int64_t i = 5; i < 12; ++i) expect_io_error(EIO, path_, [&] { tickets[i]->wait(); });
  expect_io_error(EIO, path_, [&] { fetch(0, kPage)->wait(); });
  EXPECT_EQ(tickets[11]->state(), FetchState::kFailed);
}

TEST_P(PrefetcherTest, TruncatedFile) {
  start(2, 64);
  const FetchTicket ticket = fetch(250, 20 * kPage);
  expect_io_error(0, path_ + ": end of file", [&] { ticket->wait(); });
}

TEST_P(PrefetcherTest, WaitReturnsTheStall) {
  start(1, 200,
        make_throttled_engine(make_null_engine(4), {.bytes_per_second = 100.0 * 100 * kPage}));
  const FetchTicket first = fetch(0, 50 * kPage);
  const FetchTicket second = fetch(50, 50 * kPage);
  EXPECT_GE(first->wait(), 0.004);
  EXPECT_TRUE(comes([&] { return second->state() == FetchState::kReady; }));
  EXPECT_EQ(second->wait(), 0);
  EXPECT_EQ(second->wait(), 0);
  const PrefetchCounters counters = prefetcher_->counters();
  EXPECT_EQ(counters.bytes_read, 100 * kPage);
  EXPECT_GE(counters.reading_seconds, 0.009);
  std::this_thread::sleep_for(milliseconds(20));
  EXPECT_TRUE(comes([&] {  // time without requests does not count
    const double before = prefetcher_->counters().reading_seconds;
    std::this_thread::sleep_for(milliseconds(2));
    return prefetcher_->counters().reading_seconds == before;
  }));
}

TEST_P(PrefetcherTest, GoesAwayWhileBusy) {
  for (int round = 0; round < 5; ++round) {
    start(3, 64, make_throttled_engine(make_engine(), {.bytes_per_second = 30e6}));
    std::vector<FetchTicket> tickets;
    for (int64_t i = 0; i < 10; ++i) tickets.push_back(fetch(i * 16, 16 * kPage));
    auto waiter = std::async(std::launch::async, [&] { tickets[9]->wait(); });
    if (round % 2 == 0) tickets[0]->wait();
    prefetcher_.reset();
    EXPECT_THROW(waiter.get(), InternalError);
    EXPECT_THROW(tickets[8]->wait(), InternalError);
  }
}

TEST_P(PrefetcherTest, ReleaseCancels) {
  start(2, 64, make_throttled_engine(make_engine(), {.bytes_per_second = 30e6}));
  std::vector<FetchTicket> tickets;
  for (int64_t i = 0; i < 8; ++i) tickets.push_back(fetch(i * 16, 16 * kPage));
  for (int i : {0, 1, 4, 6}) prefetcher_->release(tickets[i]);  // reading, and queued
  EXPECT_EQ(tickets[4]->state(), FetchState::kReleased);
  for (int i : {2, 3, 5, 7}) {
    EXPECT_TRUE(holds(tickets[i], i * 16, 16 * kPage)) << i;
    prefetcher_->release(tickets[i]);
  }
}

TEST_P(PrefetcherTest, SlotOfACancelledReadIsNotReusedBeforeTheReadEnds) {
  start(2, 16, make_throttled_engine(make_engine(), {.bytes_per_second = 16.0 * kPage / 0.3}));
  const auto begin = std::chrono::steady_clock::now();
  const FetchTicket cancelled = fetch(0, 16 * kPage);
  ASSERT_TRUE(comes([&] { return cancelled->state() != FetchState::kQueued; }));
  prefetcher_->release(cancelled);
  const FetchTicket next = fetch(16, 16 * kPage);
  std::this_thread::sleep_for(milliseconds(20));
  const FetchState state = next->state();
  if (std::chrono::steady_clock::now() - begin < milliseconds(300)) {
    EXPECT_EQ(state, FetchState::kQueued);
  }
  EXPECT_TRUE(holds(next, 16, 16 * kPage));
}

TEST_P(PrefetcherTest, ReadsRowsOfAnyPlace) {
  start(2, 16);
  constexpr int64_t kRow = 1234;
  const int64_t stride = row_staging_bytes(kRow);
  Buffer staging = allocate_host(50 * stride);
  std::vector<RowRequest> rows;
  for (int64_t i = 0; i < 50; ++i)
    rows.push_back({&file_, (i * 37 % 800) * kRow, kRow, staging.data() + i * stride});
  EXPECT_GT(prefetcher_->read_rows(rows), 0);
  for (const RowRequest& row : rows)
    EXPECT_EQ(std::memcmp(row.target + row.offset % kPage, bytes_.data() + row.offset, kRow), 0)
        << row.offset;
  EXPECT_LT(prefetcher_->read_rows({}), 1);
}

TEST_P(PrefetcherTest, RowsGoAheadOfSegments) {
  start(3, 256, make_throttled_engine(make_engine(), {.bytes_per_second = 4e6}));
  std::vector<FetchTicket> tickets;
  for (int64_t i = 0; i < 4; ++i) tickets.push_back(fetch(i * 64, 64 * kPage));
  ASSERT_TRUE(comes([&] { return tickets[3]->state() == FetchState::kReading; }));
  Buffer staging = allocate_host(kPage);
  const RowRequest row{&file_, 5 * kPage, 100, staging.data()};
  prefetcher_->read_rows({&row, 1});
  EXPECT_NE(tickets[2]->state(), FetchState::kReady);
  EXPECT_TRUE(holds(tickets[3], 3 * 64, 64 * kPage));
}

TEST_P(PrefetcherTest, RowThatFailsThrowsAndFetchesGoOn) {
  start(2, 16, make_faulty_engine(make_engine(), {.bad_offset = 200 * kPage, .bad_times = 1}));
  Buffer staging = allocate_host(2 * kPage);
  const RowRequest rows[] = {{&file_, 200 * kPage, 100, staging.data()},
                             {&file_, 100 * kPage, 100, staging.data() + kPage}};
  expect_io_error(EIO, path_, [&] { prefetcher_->read_rows(rows); });
  EXPECT_GE(prefetcher_->read_rows(rows), 0);
  const RowRequest beyond{&file_, 300 * kPage, 100, staging.data()};
  expect_io_error(0, path_, [&] { prefetcher_->read_rows({&beyond, 1}); });
  EXPECT_TRUE(holds(fetch(3, kPage), 3, kPage));
}

TEST_P(PrefetcherTest, AllocatesNothingInItsSteadyState) {
  start(3, 64);
  std::vector<FetchTicket> tickets(64);
  Buffer staging = allocate_host(kPage);
  const RowRequest row{&file_, 5 * kPage, 100, staging.data()};
  const auto pass = [&](size_t ahead) {
    for (size_t i = 0; i < tickets.size() + ahead; ++i) {
      if (i < tickets.size()) tickets[i] = fetch(static_cast<int64_t>(i) * 4, 4 * kPage);
      if (i < ahead) continue;
      tickets[i - ahead]->wait();
      prefetcher_->release(tickets[i - ahead]);
      tickets[i - ahead].reset();
    }
    prefetcher_->read_rows({&row, 1});
  };
  pass(16);
  const int64_t before = allocations();
  for (int i = 0; i < 5; ++i) pass(4);
  // 320 fetches; a pool may still find that it was never as busy before.
  EXPECT_LT(allocations() - before, 16);
}

TEST_P(PrefetcherTest, TellsItsTimelineWhatItReadAndCopied) {
  Timeline timeline(1000);
  PrefetcherOptions options = this->options(2, 64);
  options.timeline = &timeline;
  options.read_track = Track::kKvRead;
  const int64_t start_ns = timeline_now_ns();
  prefetcher_ = std::make_unique<Prefetcher>(*device_, options, make_engine());
  const std::vector<std::string> names = {"a", "b", "c", "d"};
  for (size_t i = 0; i < names.size(); ++i) {
    const FetchTicket ticket =
        prefetcher_->submit({.file = &file_, .offset = 0, .bytes = 10 * kPage, .name = names[i]});
    arrive(ticket);
    prefetcher_->release(ticket);
  }
  Buffer staging = allocate_host(kPage);
  const RowRequest row{&file_, 0, 100, staging.data()};
  prefetcher_->read_rows({&row, 1});
  prefetcher_.reset();  // copies have passed

  std::vector<std::string> read;
  std::map<std::string, int> copies;
  int64_t copied_ns = 0;
  for (const TimelineSpan& span : timeline.take()) {
    EXPECT_GE(span.begin_ns, start_ns);
    EXPECT_LE(span.begin_ns, span.end_ns);
    if (span.track == Track::kKvRead) {
      read.emplace_back(span.name);
    } else {
      ASSERT_EQ(span.track, Track::kCopy);
      EXPECT_GE(span.begin_ns, copied_ns) << "a copy stream does one thing at a time";
      copied_ns = span.end_ns;
      ++copies[span.name];
    }
  }
  EXPECT_THAT(read, testing::ElementsAre("a", "b", "c", "d", "rows"));
  const std::map<std::string, int> pieces = {{"a", 3}, {"b", 3}, {"c", 3}, {"d", 3}};
  EXPECT_EQ(copies, (GetParam().shares_memory ? std::map<std::string, int>() : pieces));
}

TEST_P(PrefetcherTest, NamesItsEngineAndWhatItSkipped) {
  Prefetcher prefetcher(*device_, {.engine = GetParam().engine, .ring_bytes = kPage});
  EXPECT_EQ(prefetcher.engine_name(), make_engine()->name());
  if (GetParam().engine != IoEngineKind::kUring) {
    EXPECT_THAT(prefetcher.notes(), HasSubstr("buffers not registered: "));
  }
}

// Everything at once, under faults and out-of-order completions: random sizes, depths and rings,
// releases from another thread and out of order, rows in between.
TEST_P(PrefetcherTest, RandomRuns) {
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    std::mt19937_64 random(seed);
    const auto below = [&](int64_t bound) {
      return static_cast<int64_t>(random() % static_cast<uint64_t>(bound));
    };
    PrefetcherOptions chosen = options(static_cast<int>(below(6)), 8 + below(40));
    chosen.transfer.max_retries = 1000;
    auto engine = make_throttled_engine(make_engine(), {.jitter_us = 300, .seed = seed});
    engine = make_faulty_engine(std::move(engine), {.seed = seed,
                                                    .short_probability = 0.2,
                                                    .interrupted_probability = 0.1,
                                                    .again_probability = 0.1,
                                                    .broken_probability = 0.05});
    Prefetcher prefetcher(*device_, chosen, std::move(engine));
    // In pairs, the later one is released first; two at once need slots and room.
    const bool pairs = chosen.prefetch_depth >= 2 && chosen.ring_bytes >= 32 * kPage;
    struct Part {
      FetchTicket ticket;
      int64_t page;
      int64_t size;
    };
    std::deque<Part> parts;
    std::vector<FetchTicket> kept;
    Buffer staging = allocate_host(row_staging_bytes(500));
    int64_t submitted = 0;
    for (int64_t used = 0; used < 60; ++used) {
      for (; submitted < 60 && submitted < used + 8; ++submitted) {
        const int64_t page = below(200);
        const int64_t size = below(8 * kPage) + 1;
        parts.push_back({prefetcher.submit({.file = &file_, .offset = page * kPage, .bytes = size}),
                         page, size});
      }
      const Part part = std::move(parts.front());
      parts.pop_front();
      EXPECT_TRUE(holds(part.ticket, part.page, part.size)) << "seed " << seed << " at " << used;
      kept.push_back(part.ticket);
      if (pairs && kept.size() < 2) continue;
      std::thread([&] {
        for (; !kept.empty(); kept.pop_back()) prefetcher.release(kept.back());
      }).join();
      if (below(8) == 0) {
        const RowRequest row{&file_, below(200 * kPage), 500, staging.data()};
        prefetcher.read_rows({&row, 1});
        EXPECT_EQ(std::memcmp(row.target + row.offset % kPage, bytes_.data() + row.offset, 500), 0);
      }
    }
  }
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (bool shares : {true, false})
    for (IoEngineKind engine :
         {IoEngineKind::kUring, IoEngineKind::kLibaio, IoEngineKind::kThreads})
      all.push_back({shares, engine});
  return all;
}

void PrintTo(const Case& value, std::ostream* stream) {
  *stream << (value.shares_memory ? "shared " : "separate ") << static_cast<int>(value.engine);
}

std::string case_name(const testing::TestParamInfo<Case>& info) {
  static const char* const kNames[] = {"Auto", "Uring", "Libaio", "Threads"};
  return std::string(info.param.shares_memory ? "Shared" : "Separate") +
         kNames[static_cast<int>(info.param.engine)];
}

INSTANTIATE_TEST_SUITE_P(All, PrefetcherTest, testing::ValuesIn(cases()), case_name);

// An engine whose queue itself breaks at the n-th submission.
class BreakingEngine : public IoEngine {
 public:
  explicit BreakingEngine(int submissions) : left_(submissions) {}
  std::string name() const override { return "breaking"; }
  int capacity() const override { return inner_->capacity(); }
  int event_fd() const override { return inner_->event_fd(); }
  std::string register_buffer(std::byte*, int64_t) override { return {}; }
  void submit(std::span<const IoRequest> requests) override {
    if (left_-- == 0) throw IoError("the queue is broken", ENXIO);
    inner_->submit(requests);
  }
  int reap(int min, std::span<IoCompletion> completions) override {
    return inner_->reap(min, completions);
  }

 private:
  std::unique_ptr<IoEngine> inner_ = make_null_engine(2);
  int left_;
};

TEST(PrefetcherWithBrokenEngine, EverythingFailsAndNothingHangs) {
  TempDir dir;
  write_file(dir.file("x"), test_bytes(kPage));
  const File file = File::open(dir.file("x"), {});
  CpuDevice device({.threads = 1});
  for (int submissions : {0, 1, 3}) {
    Prefetcher prefetcher(device, {.ring_bytes = 100 * kPage, .prefetch_depth = 9},
                          std::make_unique<BreakingEngine>(submissions));
    std::vector<FetchTicket> tickets;
    for (int i = 0; i < 8; ++i)
      tickets.push_back(prefetcher.submit({.file = &file, .offset = 0, .bytes = kPage}));
    EXPECT_THROW(tickets[7]->wait(), IoError);
    Buffer staging = allocate_host(kPage);
    const RowRequest row{&file, 0, 100, staging.data()};
    EXPECT_THROW(prefetcher.read_rows({&row, 1}), IoError);
    EXPECT_THROW(prefetcher.submit({.file = &file, .offset = 0, .bytes = kPage})->wait(), IoError);
  }
}

}  // namespace
}  // namespace zerostream
