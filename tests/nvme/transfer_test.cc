#include "nvme/transfer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <cerrno>
#include <deque>
#include <random>

#include "tests/nvme/engine_cases.h"
#include "tests/support/count_allocations.h"
#include "tests/support/temp_dir.h"
#include "tests/support/test_bytes.h"

namespace zerostream {
namespace {

using testing::HasSubstr;

constexpr int64_t kMiB = int64_t{1} << 20;

// What became of one transfer.
struct Outcome {
  int calls = 0;
  std::exception_ptr error;

  void operator()(std::exception_ptr result) {
    ++calls;
    error = result;
  }
  std::string text() const {
    if (!error) return "";
    try {
      std::rethrow_exception(error);
    } catch (const IoError& io_error) {
      number = io_error.error_number();
      return io_error.what();
    }
  }
  mutable int number = 0;
};

// One language for all tests: files, transfers and their outcomes.
class TransferTest : public EngineTest {
 protected:
  void SetUp() override {
    EngineTest::SetUp();
    if (!IsSkipped()) start(GetParam().make(8), {.block_size = 256 << 10});
  }
  void start(std::unique_ptr<IoEngine> engine, TransferOptions options) {
    queue_.reset();
    engine_ = std::move(engine);
    queue_ = std::make_unique<TransferQueue>(*engine_, options);
  }
  // A plain engine of this kind, for tests that bring their own faults.
  std::unique_ptr<IoEngine> plain(int capacity) {
    EngineCase plain_case = GetParam();
    plain_case.faulty = false;
    return plain_case.make(capacity);
  }
  const File& open(const std::string& name, const std::string& bytes) {
    write_file(dir_.file(name), bytes);
    return reopen(name);
  }
  const File& reopen(const std::string& name) {
    files_.push_back(File::open(dir_.file(name), {.write = true, .direct = GetParam().direct}));
    return files_.back();
  }
  Outcome& read(const File& file, int64_t offset, const GuardedBuffer& target, int64_t bytes,
                bool urgent = false) {
    return begin({.file = &file, .offset = offset, .data = target.data(), .bytes = bytes}, urgent);
  }
  Outcome& begin(Transfer transfer, bool urgent = false) {
    Outcome& outcome = outcomes_.emplace_back();
    transfer.done = [&outcome](std::exception_ptr error) { outcome(error); };
    queue_->submit(std::move(transfer), urgent);
    return outcome;
  }
  void run() {
    while (!queue_->idle()) queue_->pump(true);
  }

  TempDir dir_;
  std::deque<File> files_;
  std::deque<Outcome> outcomes_;
  std::unique_ptr<IoEngine> engine_;
  std::unique_ptr<TransferQueue> queue_;
};

TEST_P(TransferTest, ReadsEverySizeAndNothingMore) {
  const std::string bytes = test_bytes(9 * kMiB);
  const File& file = open("data", bytes);
  for (int64_t size :
       {int64_t{0}, int64_t{1}, int64_t{511}, int64_t{512}, int64_t{513}, int64_t{4095},
        int64_t{4096}, int64_t{4097}, 2 * kMiB - 1, 2 * kMiB, 2 * kMiB + 1, 8 * kMiB + 12345})
    for (int64_t offset : {int64_t{0}, int64_t{8192}}) {
      const GuardedBuffer target(size);
      const Outcome& outcome = read(file, offset, target, size);
      run();
      EXPECT_EQ(outcome.calls, 1);
      EXPECT_EQ(outcome.text(), "");
      EXPECT_TRUE(target.view(size) == std::string_view(bytes).substr(static_cast<size_t>(offset),
                                                                      static_cast<size_t>(size)))
          << size << " at " << offset;
      EXPECT_TRUE(target.untouched_from(round_up(size, file.alignment()))) << size;
    }
}

TEST_P(TransferTest, ReadsTailsUpToTheEndOfTheFile) {
  for (int64_t size : {int64_t{1}, int64_t{100}, int64_t{511}, int64_t{513}, int64_t{4095},
                       int64_t{4097}, 256 * 1024 + int64_t{1}, kMiB - 1}) {
    const std::string bytes = test_bytes(size);
    const File& file = open("tail" + std::to_string(size), bytes);
    const GuardedBuffer target(size);
    const Outcome& outcome = read(file, 0, target, size);
    run();
    EXPECT_EQ(outcome.text(), "");
    EXPECT_TRUE(target.view(size) == bytes) << size;
  }
}

TEST_P(TransferTest, FileThatEndsTooEarly) {
  for (int64_t size : {int64_t{0}, int64_t{100}, int64_t{4096}, int64_t{300000}}) {
    const File& file = open("short" + std::to_string(size), test_bytes(size));
    const GuardedBuffer target(kMiB);
    const Outcome& outcome = read(file, 0, target, kMiB);
    run();
    EXPECT_EQ(outcome.calls, 1);
    EXPECT_THAT(outcome.text(), HasSubstr(file.path() + ": end of file"));
    EXPECT_THAT(outcome.text(), HasSubstr("bytes at offset "));
    EXPECT_EQ(outcome.number, 0);
  }
}

TEST_P(TransferTest, WritesArriveWhole) {
  const std::string bytes = test_bytes(3 * kMiB);
  const GuardedBuffer source(3 * kMiB);
  std::memcpy(source.data(), bytes.data(), bytes.size());
  const File& file = open("out", std::string(4096, 'h'));
  const Outcome& outcome = begin({.kind = IoRequest::Kind::kWrite,
                                  .file = &file,
                                  .offset = 4096,
                                  .data = source.data(),
                                  .bytes = 3 * kMiB});
  run();
  EXPECT_EQ(outcome.text(), "");
  EXPECT_TRUE(read_file(file.path()) == std::string(4096, 'h') + bytes);
}

TEST_P(TransferTest, ManyAtOnceEachItsOwn) {
  std::mt19937 random(7);
  const std::string bytes = test_bytes(4 * kMiB + 99);
  const File& file = open("data", bytes);
  struct Part {
    int64_t offset;
    int64_t size;
    GuardedBuffer target;
    Outcome* outcome;
  };
  std::deque<Part> parts;
  for (int i = 0; i < 60; ++i) {
    const auto offset = static_cast<int64_t>(random() % 900) * 4096;
    const int64_t size = static_cast<int64_t>(random()) % (file.size() - offset);
    Part& part = parts.emplace_back(Part{offset, size, GuardedBuffer(size), nullptr});
    part.outcome = &read(file, offset, part.target, size, random() % 4 == 0);
    if (random() % 3 == 0) queue_->pump(random() % 2 == 0);
  }
  run();
  for (const Part& part : parts) {
    EXPECT_EQ(part.outcome->calls, 1);
    EXPECT_EQ(part.outcome->text(), "");
    EXPECT_TRUE(part.target.view(part.size) ==
                std::string_view(bytes).substr(static_cast<size_t>(part.offset),
                                               static_cast<size_t>(part.size)));
  }
}

TEST_P(TransferTest, BadDescriptorFailsItsTransferOnly) {
  const std::string bytes = test_bytes(kMiB);
  const File& good = open("good", bytes);
  const File closed;
  const GuardedBuffer bad_target(kMiB);
  const GuardedBuffer good_target(kMiB);
  const Outcome& bad = read(closed, 0, bad_target, kMiB);
  const Outcome& fine = read(good, 0, good_target, kMiB);
  run();
  EXPECT_EQ(bad.calls, 1);
  EXPECT_NE(bad.text(), "");
  EXPECT_EQ(bad.number, EBADF);
  EXPECT_EQ(fine.text(), "");
  EXPECT_TRUE(good_target.view(kMiB) == bytes);
}

TEST_P(TransferTest, BrokenBlockFailsItsTransferOnly) {
  start(make_faulty_engine(GetParam().make(4), {.bad_offset = 3 * kMiB + 5}),
        {.block_size = 64 << 10});
  const std::string bytes = test_bytes(6 * kMiB);
  const File& file = open("data", bytes);
  const GuardedBuffer targets[] = {GuardedBuffer(2 * kMiB), GuardedBuffer(2 * kMiB),
                                   GuardedBuffer(2 * kMiB)};
  const Outcome* outcomes[3];
  for (int i = 0; i < 3; ++i) outcomes[i] = &read(file, i * 2 * kMiB, targets[i], 2 * kMiB);
  run();
  EXPECT_EQ(outcomes[0]->text(), "");
  EXPECT_THAT(outcomes[1]->text(), HasSubstr(" of " + file.path() + ": Input/output error"));
  EXPECT_EQ(outcomes[1]->number, EIO);
  EXPECT_EQ(outcomes[1]->calls, 1);
  EXPECT_EQ(outcomes[2]->text(), "");
  EXPECT_TRUE(targets[2].view(2 * kMiB) == std::string_view(bytes).substr(4 * kMiB, 2 * kMiB));
}

TEST_P(TransferTest, RetriesAsOftenAsAllowed) {
  const std::string bytes = test_bytes(kMiB);
  const File& file = open("data", bytes);
  for (int retries : {1, 2}) {
    start(make_faulty_engine(plain(4), {.bad_offset = 70000, .bad_times = 2}),
          {.block_size = 64 << 10, .max_retries = retries});
    const GuardedBuffer target(kMiB);
    const Outcome& outcome = read(file, 0, target, kMiB);
    run();
    const std::string text = outcome.text();
    if (retries == 1) {
      EXPECT_THAT(text, HasSubstr("cannot read 65536 bytes at offset 65536 of "));
    } else {
      EXPECT_EQ(text, "");
      EXPECT_TRUE(target.view(kMiB) == bytes);
    }
  }
}

TEST_P(TransferTest, UrgentGoesAheadOfWhatIsNotYetWithTheEngine) {
  start(GetParam().make(1), {.block_size = 4096});
  const File& file = open("data", test_bytes(kMiB));
  std::vector<int> order;
  const GuardedBuffer targets[] = {GuardedBuffer(kMiB / 2), GuardedBuffer(kMiB / 2),
                                   GuardedBuffer(4096)};
  for (int i = 0; i < 3; ++i)
    queue_->submit({.file = &file,
                    .data = targets[i].data(),
                    .bytes = i == 2 ? 4096 : kMiB / 2,
                    .done = [&order, i](std::exception_ptr) { order.push_back(i); }},
                   i == 2);
  run();
  EXPECT_EQ(order, (std::vector<int>{2, 0, 1}));
}

TEST_P(TransferTest, DoneMaySubmit) {
  const std::string bytes = test_bytes(kMiB);
  const File& file = open("data", bytes);
  const GuardedBuffer first(kMiB);
  const GuardedBuffer second(kMiB);
  Outcome* chained = nullptr;
  queue_->submit(
      {.file = &file, .data = first.data(), .bytes = kMiB, .done = [&](std::exception_ptr) {
         chained = &read(file, 0, second, kMiB);
       }});
  run();
  ASSERT_NE(chained, nullptr);
  EXPECT_EQ(chained->calls, 1);
  EXPECT_TRUE(second.view(kMiB) == bytes);
}

TEST_P(TransferTest, RunsFromAnEventLoop) {
  const std::string bytes = test_bytes(2 * kMiB);
  const File& file = open("data", bytes);
  const GuardedBuffer target(2 * kMiB);
  const Outcome& outcome = read(file, 0, target, 2 * kMiB);
  while (!queue_->idle()) {
    pollfd entry{engine_->event_fd(), POLLIN, 0};
    const int woken = poll(&entry, 1, 10000);
    if (woken < 0 && errno == EINTR) continue;
    ASSERT_EQ(woken, 1) << "the event descriptor stayed silent";
    queue_->pump(false);
  }
  EXPECT_EQ(outcome.text(), "");
  EXPECT_TRUE(target.view(2 * kMiB) == bytes);
}

TEST_P(TransferTest, CountsWhatTheEngineMoved) {
  const File& file = open("data", test_bytes(kMiB));
  const GuardedBuffer target(kMiB);
  read(file, 0, target, kMiB);
  run();
  EXPECT_EQ(queue_->bytes_done(), kMiB);
}

TEST_P(TransferTest, GoesAwayWhileBusy) {
  const File& file = open("data", test_bytes(8 * kMiB));
  const GuardedBuffer target(8 * kMiB);
  const Outcome& outcome = read(file, 0, target, 8 * kMiB);
  queue_.reset();
  EXPECT_EQ(outcome.calls, 0);
}

TEST_P(TransferTest, AllocatesNothingWhenItHasBeenAsBusyBefore) {
  const File& file = open("data", test_bytes(4 * kMiB));
  const GuardedBuffer target(4 * kMiB);
  int calls = 0;
  const auto round = [&] {
    for (int i = 0; i < 4; ++i)
      queue_->submit({.file = &file,
                      .offset = i * kMiB,
                      .data = target.data() + i * kMiB,
                      .bytes = kMiB,
                      .done = [&calls](std::exception_ptr) { ++calls; }});
    run();
  };
  round();
  const int64_t before = allocations();
  round();
  EXPECT_EQ(allocations() - before, 0);
  EXPECT_EQ(calls, 8);
}

TEST_P(TransferTest, RefusesWhatIsNotAlignedOnlyWhenDirect) {
  const File& file = open("data", test_bytes(kMiB));
  const GuardedBuffer target(kMiB);
  if (!file.direct()) {
    const Outcome& outcome = read(file, 1, target, 4095);
    run();
    EXPECT_EQ(outcome.calls, 1);
    EXPECT_EQ(outcome.text(), "");
    return;
  }
  EXPECT_THROW(read(file, 1, target, 4096), InternalError);
  EXPECT_THROW(begin({.file = &file, .data = target.data() + 1, .bytes = 4096}), InternalError);
  EXPECT_THROW(
      begin({.kind = IoRequest::Kind::kWrite, .file = &file, .data = target.data(), .bytes = 100}),
      InternalError);
}

// Reads and writes of all kinds of sizes under all faults at once, against a plain string.
TEST_P(TransferTest, RandomReadsAndWrites) {
  constexpr int64_t kRegion = 64 << 10;
  constexpr int64_t kRegions = 8;
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    std::mt19937_64 random(seed);
    FaultOptions faults = GetParam().faults(seed);
    faults.broken_probability = 0.05;
    start(make_faulty_engine(plain(1 + static_cast<int>(random() % 8)), faults),
          {.block_size = 4096 * static_cast<int64_t>(1 + random() % 16), .max_retries = 1000});
    std::string expected = test_bytes(kRegions * kRegion, seed);
    const File& file = open("data" + std::to_string(seed), expected);
    std::deque<GuardedBuffer> buffers;
    std::vector<std::pair<int64_t, int64_t>> reads;
    for (int64_t i = 0; i < kRegions; ++i) {
      GuardedBuffer& buffer = buffers.emplace_back(kRegion);
      const bool write = random() % 3 == 0;
      int64_t size = 1 + static_cast<int64_t>(random() % kRegion);
      if (write) size = round_up(size, 4096);
      if (write) {
        const std::string bytes = test_bytes(size, random());
        std::memcpy(buffer.data(), bytes.data(), bytes.size());
        expected.replace(static_cast<size_t>(i * kRegion), bytes.size(), bytes);
      } else {
        reads.emplace_back(i, size);
      }
      begin({.kind = write ? IoRequest::Kind::kWrite : IoRequest::Kind::kRead,
             .file = &file,
             .offset = i * kRegion,
             .data = buffer.data(),
             .bytes = size},
            random() % 4 == 0);
    }
    run();
    for (const Outcome& outcome : outcomes_) EXPECT_EQ(outcome.text(), "");
    for (const auto& [i, size] : reads)
      EXPECT_TRUE(buffers[static_cast<size_t>(i)].view(size) ==
                  std::string_view(expected).substr(static_cast<size_t>(i * kRegion),
                                                    static_cast<size_t>(size)))
          << "seed " << seed << " region " << i;
    EXPECT_TRUE(read_file(file.path()) == expected) << "seed " << seed;
  }
}

INSTANTIATE_TEST_SUITE_P(All, TransferTest, testing::ValuesIn(engine_cases()), case_name);

}  // namespace
}  // namespace zerostream
