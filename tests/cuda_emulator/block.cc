#include "tests/cuda_emulator/block.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "tests/cuda_emulator/sanitizers.h"

__thread uint3 threadIdx;
__thread uint3 blockIdx;
__thread dim3 blockDim;
__thread dim3 gridDim;

namespace cuda_emulator {
namespace {

thread_local BlockRunner* current_runner = nullptr;

std::string name_of(Place place) {
  return std::string(place.file).append(":").append(std::to_string(place.line));
}

std::string name_of(uint3 index) {
  std::string name = "(";
  name.append(std::to_string(index.x)).append(",").append(std::to_string(index.y));
  return name.append(",").append(std::to_string(index.z)).append(")");
}

}  // namespace

BlockRunner::BlockRunner(dim3 grid, dim3 block, uint64_t seed, const std::function<void()>& kernel)
    : kernel_(kernel),
      random_(seed),
      threads_(size_t{block.x} * block.y * block.z),
      order_(threads_.size()),
      meetings_((threads_.size() + 31) / 32) {
  current_runner = this;
  gridDim = grid;
  blockDim = block;
  std::iota(order_.begin(), order_.end(), 0);
  if (seed != 0) std::shuffle(order_.begin(), order_.end(), random_);
  for (size_t i = 0; i < threads_.size(); ++i) {
    const auto t = static_cast<uint32_t>(i);
    threads_[i].runner = this;
    threads_[i].index = {t % block.x, t / block.x % block.y, t / block.x / block.y};
    threads_[i].fiber = Fiber::take(thread_main, &threads_[i]);
  }
  for (std::vector<Meeting>& of_warp : meetings_) of_warp.reserve(32);  // lanes keep references
}

BlockRunner::~BlockRunner() {
  current_runner = nullptr;
  for (Thread& thread : threads_) Fiber::give_back(std::move(thread.fiber));
}

BlockRunner& BlockRunner::current() {
  if (current_runner == nullptr) throw std::logic_error("device code runs outside of a kernel");
  return *current_runner;
}

void BlockRunner::run(uint3 block_index) {
  blockIdx = block_index;
  returned_ = 0;
  for (Thread& thread : threads_) thread.state = State::kReady;
  tsan_release(&begin_);
  while (returned_ < static_cast<int>(threads_.size())) {
    bool progress = false;
    for (const int i : order_) {
      if (threads_[static_cast<size_t>(i)].state != State::kReady) continue;
      progress = true;
      resume(i);
      if (failure_.what != nullptr) throw std::runtime_error(failure_text());
    }
    if (!progress) throw std::runtime_error(standstill());
  }
  tsan_acquire(&end_);
}

void BlockRunner::resume(int thread) {
  running_ = thread;
  threadIdx = threads_[static_cast<size_t>(thread)].index;
  threads_[static_cast<size_t>(thread)].fiber->enter();
}

void BlockRunner::thread_main(void* self) {
  Thread& thread = *static_cast<Thread*>(self);
  tsan_acquire(&thread.runner->begin_);
  thread.runner->kernel_();
  tsan_release(&thread.runner->end_);
  thread.state = State::kReturned;
  ++thread.runner->returned_;
}

void BlockRunner::wait(State state, Place place) {
  Thread& thread = threads_[static_cast<size_t>(running_)];
  thread.state = state;
  thread.place = place;
  thread.fiber->leave();
}

// Nothing on the fiber's stack is destroyed any more: it must own nothing.
void BlockRunner::fail(const char* what, Place first, Place second) {
  failure_ = {what, first, second};
  for (;;) threads_[static_cast<size_t>(running_)].fiber->leave();
}

std::string BlockRunner::failure_text() const {
  std::string text = failure_.what;
  for (const Place place : {failure_.first, failure_.second})
    if (place.line != 0) text.append(" ").append(name_of(place));
  text.append(", block ").append(name_of(blockIdx)).append(" thread ");
  return text.append(name_of(threads_[static_cast<size_t>(running_)].index));
}

int BlockRunner::barrier(Vote vote, int predicate, Place place) {
  if (at_barrier_ == 0) barrier_place_ = place;
  if (!(barrier_place_ == place))
    fail("threads of one block stand at different barriers:", barrier_place_, place);
  votes_ = (at_barrier_ == 0 ? 0 : votes_) + (predicate != 0);
  OrderPoint& here = barriers_[barrier_turn_];
  tsan_release(&here);
  if (++at_barrier_ == static_cast<int>(threads_.size()))
    end_barrier(vote, place);
  else
    wait(State::kAtBarrier, place);
  tsan_acquire(&here);
  return verdict_;
}

void BlockRunner::end_barrier(Vote vote, Place place) {
  const int all = at_barrier_;
  at_barrier_ = 0;
  barrier_turn_ ^= 1;
  verdict_ = vote == Vote::kCount ? votes_ : vote == Vote::kAnd ? votes_ == all : votes_ > 0;
  for (Thread& thread : threads_) thread.state = State::kReady;
  wait(State::kReady, place);
}

BlockRunner::Meeting& BlockRunner::meeting(int warp, uint32_t mask) {
  std::vector<Meeting>& all = meetings_[static_cast<size_t>(warp)];
  for (Meeting& known : all)
    if (known.lanes[0].mask == mask) return known;
  if (all.size() == all.capacity()) fail("a warp meets under more than 32 different masks");
  Meeting& added = all.emplace_back();
  for (Lanes& lanes : added.lanes) {
    lanes.mask = mask;
    for (uint64_t& value : lanes.values) value = 0x7fbadbad7fbadbad;
  }
  return added;
}

const Lanes& BlockRunner::exchange(uint32_t mask, uint64_t value, Place place) {
  const int lane = running_ % 32, warp = running_ / 32;
  if ((mask >> lane & 1) == 0)
    fail("a lane calls a warp operation whose mask does not name it:", place);
  Meeting& here = meeting(warp, mask);
  if (here.arrived == 0) here.place = place;
  if (!(here.place == place))
    fail("lanes of one mask stand at different warp operations:", here.place, place);
  Lanes& lanes = here.lanes[here.turn];
  lanes.values[lane] = value;
  here.arrived |= 1u << lane;
  const auto end = std::min<size_t>(threads_.size(), static_cast<size_t>(warp) * 32 + 32);
  const uint32_t present = ~0u >> (32 - (end - static_cast<size_t>(warp) * 32));
  if (here.arrived != (mask & present)) {
    wait(State::kInWarp, place);
    return lanes;
  }
  here.arrived = 0;
  here.turn ^= 1;
  for (size_t i = static_cast<size_t>(warp) * 32; i < end; ++i)
    if ((mask >> (i % 32) & 1) != 0) threads_[i].state = State::kReady;
  return lanes;
}

void BlockRunner::warp_barrier(uint32_t mask, Place place) {
  Meeting& all = meeting(running_ / 32, mask);
  Lanes* here = &all.lanes[all.turn];
  tsan_release(here);
  exchange(mask, 0, place);
  tsan_acquire(here);
}

std::string BlockRunner::standstill() const {
  std::string text = "no thread of block " + name_of(blockIdx) + " can go on: ";
  text.append(std::to_string(returned_)).append(" have returned");
  const Thread* last = nullptr;
  for (const Thread& thread : threads_) {
    if (thread.state == State::kReturned) continue;
    if (last != nullptr && last->place == thread.place) continue;
    last = &thread;
    text.append(", thread ").append(name_of(thread.index)).append(" waits at ");
    text.append(thread.state == State::kAtBarrier ? "the barrier " : "the warp operation ");
    text.append(name_of(thread.place));
  }
  return text;
}

void run_grid(dim3 grid, dim3 block, uint64_t seed, const std::function<void()>& kernel) {
  BlockRunner runner(grid, block, seed, kernel);
  const uint64_t blocks = uint64_t{grid.x} * grid.y * grid.z;
  for (uint64_t i = 0; i < blocks; ++i) {
    const uint64_t b = seed % 2 == 1 ? blocks - 1 - i : i;
    runner.run({static_cast<uint32_t>(b % grid.x), static_cast<uint32_t>(b / grid.x % grid.y),
                static_cast<uint32_t>(b / grid.x / grid.y)});
  }
}

}  // namespace cuda_emulator
