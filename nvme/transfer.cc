#include "nvme/transfer.h"

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "base/require.h"
#include "base/tensor.h"
#include "nvme/transfer_error.h"

namespace zerostream {
namespace {

constexpr int64_t kPageBytes = 4096;
constexpr int64_t kLargestBlock = int64_t{1} << 30;
constexpr int kNone = -1;

}  // namespace

struct TransferQueue::State {
  // A transfer in work. Its blocks are handed out from the front.
  struct Job {
    Transfer transfer;
    int64_t span = 0;  // bytes to ask for: with the tail of a direct read
    int64_t next = 0;  // where the next block begins
    bool more = true;  // blocks are left to hand out
    int blocks = 0;    // with the engine, or to be sent again
    std::exception_ptr error;
    int after = kNone;  // next job of its line, or next free one
  };
  // A part of a job that has a place in the engine. Shrinks from the front as bytes come.
  struct Block {
    int job = kNone;
    int64_t begin = 0;
    int64_t bytes = 0;
    int retries = 0;
  };
  // Jobs with blocks left, first come first served.
  struct Line {
    int first = kNone;
    int last = kNone;
  };

  State(IoEngine& engine, TransferOptions options)
      : engine(engine),
        block_size(std::min(round_up(options.block_size, kPageBytes), kLargestBlock)),
        max_retries(options.max_retries),
        blocks(static_cast<size_t>(engine.capacity())),
        completions(blocks.size()) {
    require(options.block_size > 0, "blocks have bytes");
    for (int i = engine.capacity(); i-- > 0;) free_blocks.push_back(i);
    again.reserve(blocks.size());
    requests.reserve(blocks.size());
  }

  Job& job(int index) { return jobs[static_cast<size_t>(index)]; }
  Block& block(int index) { return blocks[static_cast<size_t>(index)]; }

  void push(Line& line, int index) {
    (line.last == kNone ? line.first : job(line.last).after) = index;
    line.last = index;
  }
  void pop(Line& line) {
    line.first = std::exchange(job(line.first).after, kNone);
    if (line.first == kNone) line.last = kNone;
  }

  int add(Transfer transfer);
  void fill();
  bool take_block(Line& line);
  void request(int index);
  void finish(const IoCompletion& completion);
  bool settle(Block& block, int64_t result);
  bool failed(Block& block, int error);
  void leave(int index);

  IoEngine& engine;
  const int64_t block_size;
  const int max_retries;
  std::vector<Job> jobs;
  int free_job = kNone;
  Line urgent;
  Line normal;
  std::vector<Block> blocks;
  std::vector<int> free_blocks;
  std::vector<int> again;  // blocks to be sent again, or on
  std::vector<IoRequest> requests;
  std::vector<IoCompletion> completions;
  int in_flight = 0;
  int64_t bytes_done = 0;
};

int TransferQueue::State::add(Transfer transfer) {
  if (free_job == kNone) {
    jobs.emplace_back();
    free_job = static_cast<int>(jobs.size()) - 1;
  }
  const int index = free_job;
  free_job = std::exchange(job(index).after, kNone);
  const int64_t alignment = transfer.file->alignment();
  const int64_t span = round_up(transfer.bytes, alignment);
  require(transfer.offset % alignment == 0 &&
              reinterpret_cast<uintptr_t>(transfer.data) % static_cast<uintptr_t>(alignment) == 0 &&
              (span == transfer.bytes || transfer.kind == IoRequest::Kind::kRead),
          "a transfer of a direct file is aligned");
  job(index) = {.transfer = std::move(transfer), .span = span, .error = nullptr};
  return index;
}

// Sends again what must be, then blocks of urgent jobs, then of others, as long as there is room.
void TransferQueue::State::fill() {
  requests.clear();
  for (int index : again) request(index);
  again.clear();
  while (!free_blocks.empty() && (take_block(urgent) || take_block(normal))) {
  }
  if (requests.empty()) return;
  engine.submit(requests);
  in_flight += static_cast<int>(requests.size());
}

bool TransferQueue::State::take_block(Line& line) {
  if (line.first == kNone) return false;
  const int owner = line.first;
  Job& from = job(owner);
  if (from.next == 0 && from.transfer.begun) from.transfer.begun();
  const int index = free_blocks.back();
  free_blocks.pop_back();
  block(index) = {
      .job = owner, .begin = from.next, .bytes = std::min(block_size, from.span - from.next)};
  from.next += block(index).bytes;
  from.more = from.next < from.span;
  ++from.blocks;
  if (!from.more) pop(line);
  request(index);
  return true;
}

void TransferQueue::State::request(int index) {
  const Block& part = block(index);
  const Transfer& transfer = job(part.job).transfer;
  requests.push_back({.kind = transfer.kind,
                      .fd = transfer.file->fd(),
                      .offset = transfer.offset + part.begin,
                      .data = transfer.data + part.begin,
                      .bytes = part.bytes,
                      .tag = static_cast<uint64_t>(index)});
}

void TransferQueue::State::finish(const IoCompletion& completion) {
  const int index = static_cast<int>(completion.tag);
  --in_flight;
  bytes_done += std::max<int64_t>(completion.result, 0);
  if (settle(block(index), completion.result))
    leave(index);
  else
    again.push_back(index);
}

// Whether the block is over; if not, it is shrunk to what must be asked for again.
bool TransferQueue::State::settle(Block& part, int64_t result) {
  const Job& owner = job(part.job);
  if (result < 0) return failed(part, static_cast<int>(-result));
  const int64_t wanted = std::min(part.begin + part.bytes, owner.transfer.bytes);
  if (part.begin + result >= wanted) return true;
  if (result == 0) return failed(part, 0);
  // A direct request goes on from an aligned place, so the last bytes may come twice. Where the
  // file ends there is no next place.
  const File& file = *owner.transfer.file;
  const int64_t step = result / file.alignment() * file.alignment();
  if (step == 0 && owner.transfer.offset + part.begin + result >= file.size())
    return failed(part, 0);
  part.begin += step;
  part.bytes -= step;
  return owner.error != nullptr;
}

// Whether the block is over: it will not be tried again.
bool TransferQueue::State::failed(Block& part, int error) {
  Job& owner = job(part.job);
  if (owner.error != nullptr) return true;
  if (error == EINTR || error == EAGAIN) return false;
  if ((error == EIO || error == ETIMEDOUT) && part.retries++ < max_retries) return false;
  const Transfer& transfer = owner.transfer;
  owner.error = std::make_exception_ptr(
      transfer_error(transfer.kind, *transfer.file,
                     {.offset = transfer.offset + part.begin,
                      .bytes = std::min(part.bytes, transfer.bytes - part.begin),
                      .error = error}));
  return true;
}

void TransferQueue::State::leave(int index) {
  const int owner = block(index).job;
  free_blocks.push_back(index);
  Job& from = job(owner);
  --from.blocks;
  if (from.error != nullptr && from.more) {  // begun and not handed out: the first of its line
    from.more = false;
    pop(urgent.first == owner ? urgent : normal);
  }
  if (from.blocks > 0 || from.more) return;
  const auto done = std::move(from.transfer.done);
  std::exception_ptr error = std::move(from.error);
  from.after = std::exchange(free_job, owner);
  done(std::move(error));
}

TransferQueue::TransferQueue(IoEngine& engine, TransferOptions options)
    : state_(std::make_unique<State>(engine, options)) {}

TransferQueue::~TransferQueue() {
  try {
    while (state_->in_flight > 0) state_->in_flight -= state_->engine.reap(1, state_->completions);
  } catch (const IoError&) {  // the engine's own destructor waits
  }
}

void TransferQueue::submit(Transfer transfer, bool urgent) {
  const int index = state_->add(std::move(transfer));
  state_->push(urgent ? state_->urgent : state_->normal, index);
  state_->fill();
}

void TransferQueue::pump(bool wait) {
  const int count = state_->engine.reap(wait && state_->in_flight > 0 ? 1 : 0, state_->completions);
  for (int i = 0; i < count; ++i) state_->finish(state_->completions[static_cast<size_t>(i)]);
  state_->fill();
}

bool TransferQueue::idle() const {
  return state_->free_blocks.size() == state_->blocks.size() && state_->urgent.first == kNone &&
         state_->normal.first == kNone;
}

int64_t TransferQueue::bytes_done() const { return state_->bytes_done; }

}  // namespace zerostream
