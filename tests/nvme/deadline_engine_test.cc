#include "nvme/deadline_engine.h"

#include <gmock/gmock.h>
#include <poll.h>

#include <cerrno>

#include "nvme/transfer.h"
#include "tests/nvme/engine_cases.h"
#include "tests/support/temp_dir.h"
#include "tests/support/test_bytes.h"

namespace zerostream {
namespace {

using testing::HasSubstr;

constexpr int64_t kPage = 4096;

class DeadlineEngineTest : public EngineTest {
 protected:
  void SetUp() override {
    EngineTest::SetUp();
    write_file(folder_.file("x"), test_bytes(64 * kPage));
    file_ = File::open(folder_.file("x"), {.write = false, .direct = GetParam().direct});
  }
  // Reads the whole file, a page a request.
  void read(IoEngine& engine) {
    TransferQueue queue(engine, {.block_size = kPage});
    std::exception_ptr failure;
    queue.submit({.kind = IoRequest::Kind::kRead,
                  .file = &file_,
                  .offset = 0,
                  .data = buffer_.data(),
                  .bytes = 64 * kPage,
                  .done = [&](std::exception_ptr error) { failure = error; }});
    while (!queue.idle()) queue.pump(true);
    if (failure) std::rethrow_exception(failure);
  }

  TempDir folder_;
  File file_;
  GuardedBuffer buffer_{64 * kPage};
};

TEST_P(DeadlineEngineTest, IsNotSeenByRequestsThatEnd) {
  const auto engine = make_deadline_engine(GetParam().make(8), 60);
  EXPECT_EQ(engine->name(), GetParam().make(8)->name());
  for (int round = 0; round < 3; ++round) read(*engine);
  EXPECT_EQ(buffer_.view(64 * kPage), test_bytes(64 * kPage));
}

// A deadline that has passed while everything had ended is none.
TEST_P(DeadlineEngineTest, RestsBetweenRequests) {
  const auto engine = make_deadline_engine(GetParam().make(8), 0.05);
  for (int round = 0; round < 3; ++round) {
    read(*engine);
    pollfd quiet{engine->event_fd(), POLLIN, 0};
    poll(&quiet, 1, 80);
  }
}

TEST_P(DeadlineEngineTest, LostRequestsBreakIt) {
  const auto engine =
      make_deadline_engine(make_faulty_engine(GetParam().make(8), {.lost_probability = 0.2}), 0.05);
  try {
    read(*engine);
    FAIL() << "requests were lost";
  } catch (const IoError& error) {
    EXPECT_EQ(error.error_number(), ETIMEDOUT);
    EXPECT_THAT(error.what(), HasSubstr("reading 4096 bytes at "));
    EXPECT_THAT(error.what(), HasSubstr(folder_.file("x") + " has not ended for 0 s"));
  }
  EXPECT_THROW(read(*engine), IoError);
}

TEST_P(DeadlineEngineTest, WakesWhoWaitsForItsDescriptor) {
  const auto engine =
      make_deadline_engine(make_faulty_engine(GetParam().make(8), {.lost_probability = 1}), 0.05);
  const IoRequest request{
      .fd = file_.fd(), .offset = 0, .data = buffer_.data(), .bytes = kPage, .tag = 3};
  engine->submit({&request, 1});
  pollfd ready{engine->event_fd(), POLLIN, 0};
  while (poll(&ready, 1, -1) < 0) continue;  // libaio may interrupt
  IoCompletion completion;
  EXPECT_THROW(engine->reap(0, {&completion, 1}), IoError);
  EXPECT_THROW(engine->submit({&request, 1}), IoError);
}

INSTANTIATE_TEST_SUITE_P(All, DeadlineEngineTest, testing::ValuesIn(faultless_engine_cases()),
                         case_name);

}  // namespace
}  // namespace zerostream
