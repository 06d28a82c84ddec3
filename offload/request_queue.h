// Input rows made ready ahead of the generator.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>

#include "offload/result_writer.h"
#include "offload/rows.h"

namespace zerostream {

// Reads rows, leaves out those that are done, checks and tokenises the others on a thread of its
// own, and holds some of them ready: at most 1,024 and about 64 MiB of their text. Bad rows go to
// `reject` at once.
//
// Threads: next() and finish() from one thread; `done` and `reject` are called from the queue's.
// Errors: when reading fails, next() throws once the rows before are served. Destruction stops the
// thread within 0.1 s.
class RequestQueue {
 public:
  struct Source {
    std::string input;
    RowContext context;                            // its tokenizer must outlive the queue
    std::function<bool(const RowIdentity&)> done;  // finished by an earlier run
    std::function<void(FinishedRow row)> reject;   // a row that ended in an error
  };
  explicit RequestQueue(Source source);
  ~RequestQueue();

  // The next request; nothing at the end of the input, or when none gets ready within 0.1 s.
  std::optional<GenerationRequest> next();
  // True when next() has nothing more to give.
  bool ended();
  // What the output says of a row that next() gave, and its result. Forgets the row.
  FinishedRow finish(GenerationResult result);
  // Makes next() return nothing from now on. Any thread.
  void stop();

 private:
  struct Ready {
    GenerationRequest request;
    FinishedRow row;  // without its result
    size_t bytes = 0;
  };
  void read_rows();
  void add(const InputRow& row);
  bool full() const { return ready_.size() >= kMostRows || bytes_ >= kMostBytes; }

  static constexpr size_t kMostRows = 1024;
  static constexpr size_t kMostBytes = size_t{64} << 20;

  Source source_;
  RowReader reader_;
  std::atomic<bool> stop_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Ready> ready_;                            // guarded by mutex_
  size_t bytes_ = 0;                                   // guarded by mutex_
  bool ended_ = false;                                 // guarded by mutex_
  std::exception_ptr error_;                           // guarded by mutex_
  std::unordered_map<uint64_t, FinishedRow> in_work_;  // by handle
  std::thread thread_;                                 // last: it uses the rest
};

}  // namespace zerostream
