// Runs the threads of a kernel's blocks.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/cuda_emulator/fiber.h"
#include "tests/cuda_emulator/vector_types.h"

namespace cuda_emulator {

// Where a barrier or a warp operation stands in the source of a kernel.
struct Place {
  const char* file = "";
  int line = 0;
  bool operator==(const Place&) const = default;
};

enum class Vote : uint8_t { kNone, kCount, kAnd, kOr };

// What the lanes of a warp hand in at a warp operation. Those outside `mask` hold nonsense.
struct Lanes {
  uint32_t mask = 0;
  uint64_t values[32] = {};
};

// Blocks of one shape, each thread a fiber, all on the calling thread, one block after the other.
// Threads take turns at barriers and warp operations only, in a random order if `seed` is not 0.
//
// Errors: run() throws std::runtime_error with the places where threads stand: threads of one block
// at different barriers; lanes that one mask names at different operations, or a lane that its own
// mask does not name; threads that wait for others which have returned or wait elsewhere. After an
// error the object is of no more use.
//
// ThreadSanitizer takes the threads of a block for threads, ordered as CUDA orders them: by the
// block's begin and end, barrier() and warp_barrier(), but not by exchange(). It does not see the
// files of this class: their state is none of the kernels'.
class BlockRunner {
 public:
  BlockRunner(dim3 grid, dim3 block, uint64_t seed, const std::function<void()>& kernel);
  ~BlockRunner();

  void run(uint3 block_index);

  // For device code, within run().
  static BlockRunner& current();
  int barrier(Vote vote, int predicate, Place place);
  const Lanes& exchange(uint32_t mask, uint64_t value, Place place);
  void warp_barrier(uint32_t mask, Place place);
  int lane() const { return running_ % 32; }
  [[noreturn]] void fail(const char* what, Place first = {}, Place second = {});

 private:
  enum class State : uint8_t { kReady, kAtBarrier, kInWarp, kReturned };
  struct Thread {
    BlockRunner* runner = nullptr;
    uint3 index{};
    State state = State::kReady;
    Place place;
    std::unique_ptr<Fiber> fiber;
  };
  // Lanes that meet under one mask. Two sets of values in turn: a lane may still read the last one
  // while others hand in the next.
  struct Meeting {
    uint32_t arrived = 0;
    int turn = 0;
    Place place;
    Lanes lanes[2];
  };
  struct Failure {
    const char* what = nullptr;
    Place first, second;
  };
  struct OrderPoint {};  // see sanitizers.h

  static void thread_main(void* thread);
  void resume(int thread);
  void wait(State state, Place place);
  void end_barrier(Vote vote, Place place);
  Meeting& meeting(int warp, uint32_t mask);
  std::string failure_text() const;
  std::string standstill() const;

  const std::function<void()>& kernel_;
  std::mt19937_64 random_;
  std::vector<Thread> threads_;
  std::vector<int> order_;
  std::vector<std::vector<Meeting>> meetings_;  // by warp
  int running_ = -1;
  int returned_ = 0;
  int at_barrier_ = 0;
  Place barrier_place_;
  int votes_ = 0;
  int verdict_ = 0;
  Failure failure_;
  OrderPoint begin_, end_;
  OrderPoint barriers_[2];  // in turn, as the lanes of a meeting
  int barrier_turn_ = 0;
};

// Runs all blocks of a grid, the last first if `seed` is odd.
void run_grid(dim3 grid, dim3 block, uint64_t seed, const std::function<void()>& kernel);

}  // namespace cuda_emulator
