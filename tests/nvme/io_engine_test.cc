#include "nvme/io_engine.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <set>

#include "nvme/file.h"
#include "nvme/null_engine.h"
#include "tests/nvme/engine_cases.h"
#include "tests/support/temp_dir.h"
#include "tests/support/test_bytes.h"

namespace zerostream {
namespace {

constexpr int64_t kPage = 4096;

bool readable(int fd, int timeout_ms) {
  pollfd entry{fd, POLLIN, 0};
  int count = 0;
  do count = poll(&entry, 1, timeout_ms);
  while (count < 0 && errno == EINTR);
  return count == 1;
}

// Faults are transfer_test's matter: here every request ends as it should.
class IoEngineTest : public EngineTest {
 protected:
  void SetUp() override {
    EngineTest::SetUp();
    if (IsSkipped()) return;
    write_file(path_, bytes_);
    file_ = File::open(path_, {.write = true, .direct = GetParam().direct});
    engine_ = GetParam().make(8);
  }

  IoRequest page(int64_t index) const {
    return {.fd = file_.fd(),
            .offset = index * kPage,
            .data = memory_.data() + index * kPage,
            .bytes = kPage,
            .tag = 1000 + static_cast<uint64_t>(index)};
  }
  std::vector<IoCompletion> reap(int count) {
    std::vector<IoCompletion> completions(static_cast<size_t>(count));
    EXPECT_EQ(engine_->reap(count, completions), count);
    return completions;
  }

  TempDir dir_;
  std::string path_ = dir_.file("data");
  const std::string bytes_ = test_bytes(16 * kPage + 100);
  GuardedBuffer memory_{17 * kPage};
  File file_;
  std::unique_ptr<IoEngine> engine_;
};

TEST_P(IoEngineTest, CompletesEachRequestOnceUpToItsCapacity) {
  std::vector<IoRequest> requests;
  for (int i = 0; i < 8; ++i) requests.push_back(page(2 * i));
  engine_->submit(requests);
  std::set<uint64_t> tags;
  for (const IoCompletion& completion : reap(8)) {
    EXPECT_EQ(completion.result, kPage);
    tags.insert(completion.tag);
  }
  EXPECT_EQ(tags.size(), 8u);
  for (int64_t i = 0; i < 8; ++i)
    EXPECT_EQ(memory_.view(17 * kPage).substr(2 * i * kPage, kPage),
              std::string_view(bytes_).substr(2 * i * kPage, kPage));
  IoCompletion none;
  EXPECT_EQ(engine_->reap(0, {&none, 1}), 0);
}

TEST_P(IoEngineTest, EndOfFileIsAShortResultThenZero) {
  IoRequest request = page(16);
  engine_->submit({&request, 1});
  EXPECT_EQ(reap(1)[0].result, 100);
  request.offset = 20 * kPage;
  engine_->submit({&request, 1});
  EXPECT_EQ(reap(1)[0].result, 0);
}

TEST_P(IoEngineTest, WritesAreSeenByReads) {
  std::memset(memory_.data(), 'w', kPage);
  IoRequest request = page(0);
  request.kind = IoRequest::Kind::kWrite;
  request.offset = 3 * kPage;
  engine_->submit({&request, 1});
  EXPECT_EQ(reap(1)[0].result, kPage);
  EXPECT_EQ(read_file(path_),
            std::string(bytes_).replace(3 * kPage, kPage, std::string(kPage, 'w')));
}

TEST_P(IoEngineTest, BadDescriptorIsACompletion) {
  IoRequest request = page(0);
  request.fd = -1;
  engine_->submit({&request, 1});
  EXPECT_TRUE(readable(engine_->event_fd(), 5000));
  const IoCompletion completion = reap(1)[0];
  EXPECT_EQ(completion.result, -EBADF);
  EXPECT_EQ(completion.tag, 1000u);
}

TEST_P(IoEngineTest, EventDescriptorWakesEpoll) {
  const int epoll = epoll_create1(0);
  epoll_event event{};
  event.events = EPOLLIN;
  ASSERT_EQ(epoll_ctl(epoll, EPOLL_CTL_ADD, engine_->event_fd(), &event), 0);
  EXPECT_EQ(epoll_wait(epoll, &event, 1, 0), 0);
  for (int round = 0; round < 3; ++round) {
    const IoRequest requests[] = {page(0), page(1)};
    engine_->submit(requests);
    int left = 2;
    while (left > 0) {
      const int woken = epoll_wait(epoll, &event, 1, 5000);
      if (woken < 0 && errno == EINTR) continue;
      ASSERT_EQ(woken, 1);
      IoCompletion completions[8];
      left -= engine_->reap(0, completions);
    }
    EXPECT_EQ(left, 0);
  }
  close(epoll);
}

TEST_P(IoEngineTest, ReapResetsTheEventDescriptor) {
  const IoRequest request = page(0);
  engine_->submit({&request, 1});
  EXPECT_EQ(reap(1)[0].result, kPage);
  IoCompletion none;
  EXPECT_EQ(engine_->reap(0, {&none, 1}), 0);
  EXPECT_FALSE(readable(engine_->event_fd(), 0));
}

TEST_P(IoEngineTest, RegistersMemoryOrSaysWhyNot) {
  const std::string reason = engine_->register_buffer(memory_.data(), 4 * kPage);
  EXPECT_TRUE(GetParam().kind == IoEngineKind::kUring || !reason.empty());
  // Both inside and outside what was registered.
  const IoRequest requests[] = {page(1), page(9)};
  engine_->submit(requests);
  for (const IoCompletion& completion : reap(2)) EXPECT_EQ(completion.result, kPage);
  for (int64_t i : {1, 9})
    EXPECT_EQ(memory_.view(17 * kPage).substr(i * kPage, kPage),
              std::string_view(bytes_).substr(i * kPage, kPage));
}

TEST_P(IoEngineTest, DestructionWaitsForWhatIsInFlight) {
  GuardedBuffer memory(kPage);
  IoRequest request = page(0);
  request.data = memory.data();
  engine_->submit({&request, 1});
  engine_.reset();
  const std::string after(memory.view(kPage));
  usleep(2000);
  EXPECT_EQ(memory.view(kPage), after);
}

INSTANTIATE_TEST_SUITE_P(All, IoEngineTest, testing::ValuesIn(faultless_engine_cases()), case_name);

TEST(NullEngine, CompletesAtOnceAndMovesNothing) {
  const auto engine = make_null_engine(4);
  char memory[8] = "before";
  const IoRequest request{
      .fd = -1, .data = reinterpret_cast<std::byte*>(memory), .bytes = 7, .tag = 5};
  EXPECT_FALSE(readable(engine->event_fd(), 0));
  engine->submit({&request, 1});
  EXPECT_TRUE(readable(engine->event_fd(), 0));
  IoCompletion completion;
  ASSERT_EQ(engine->reap(1, {&completion, 1}), 1);
  EXPECT_EQ(completion.tag, 5u);
  EXPECT_EQ(completion.result, 7);
  EXPECT_STREQ(memory, "before");
  EXPECT_FALSE(readable(engine->event_fd(), 0));
}

TEST(ThrottledEngine, KeepsToItsRate) {
  const auto engine = make_throttled_engine(make_null_engine(4), {.bytes_per_second = 10e6});
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 10; ++i) {
    const IoRequest request{.bytes = 100000};
    engine->submit({&request, 1});
    EXPECT_TRUE(readable(engine->event_fd(), 5000));
    IoCompletion completion;
    EXPECT_EQ(engine->reap(1, {&completion, 1}), 1);
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  EXPECT_GE(took.count(), 0.1);
}

}  // namespace
}  // namespace zerostream
