#include "offload/workload.h"

#include <algorithm>
#include <vector>

#include "offload/rows.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr size_t kSampleRows = 1000;
// A tokenizer gives at most one token per byte, and few more around the text.
constexpr int64_t kSpecialTokens = 8;

struct RowSize {
  int64_t prompt_tokens = 0;
  int64_t new_tokens = 0;
};

// Every stride-th row of an input of unknown length: the stride doubles when the sample is full.
class EvenSample {
 public:
  bool wants(int64_t index) const { return index % stride_ == 0; }
  void add(const RowSize& row) {
    rows_.push_back(row);
    if (rows_.size() < 2 * kSampleRows) return;
    for (size_t i = 0; i < kSampleRows; ++i) rows_[i] = rows_[2 * i];
    rows_.resize(kSampleRows);
    stride_ *= 2;
  }
  const std::vector<RowSize>& rows() const { return rows_; }

 private:
  std::vector<RowSize> rows_;
  int64_t stride_ = 1;
};

int64_t new_tokens_wanted(const InputRow& row, const RowContext& context) {
  if (context.purpose == Purpose::kScore) return 1;
  for (const char* name : {"max_tokens", "max_new_tokens"})
    if (const auto found = row.fields.find(name);
        found != row.fields.end() && found->is_number_unsigned())
      return found->get<int64_t>();
  return *context.sampling.max_new_tokens;
}

RowSize upper_bound(const InputRow& row, const RowContext& context) {
  RowSize size{kSpecialTokens, new_tokens_wanted(row, context)};
  for (const char* name : {"prompt", "prompt_token_ids", "text", "token_ids"})
    if (const auto found = row.fields.find(name); found != row.fields.end())
      size.prompt_tokens += found->is_string()
                                ? static_cast<int64_t>(found->get_ref<const std::string&>().size())
                                : static_cast<int64_t>(found->size());
  if (const int64_t most = context.model_context; most > 0) {
    size.prompt_tokens = std::min(size.prompt_tokens, most - 1);
    size.new_tokens = std::min(size.new_tokens, most - size.prompt_tokens);
  }
  return size;
}

RowSize exact_size(const InputRow& row, const RowContext& context) {
  const GenerationRequest request = make_request(row, context);
  const auto prompt = static_cast<int64_t>(request.prompt_tokens.size());
  // Nothing is computed on the last token of a scored row, as on that of a generated one.
  if (request.purpose == Purpose::kScore) return {std::max<int64_t>(prompt - 1, 1), 1};
  return {prompt, request.max_new_tokens};
}

void note_longest(const RowSize& row, Workload& workload) {
  workload.longest_prompt_tokens = std::max(workload.longest_prompt_tokens, row.prompt_tokens);
  workload.longest_row_tokens =
      std::max(workload.longest_row_tokens, row.prompt_tokens + row.new_tokens);
}

}  // namespace

Workload equal_rows(int64_t rows, int64_t prompt_tokens, int64_t new_tokens,
                    const RowContext& context) {
  if (const int64_t most = context.model_context; most > 0) {
    if (prompt_tokens >= most && context.over_length == OverLength::kTruncate)
      prompt_tokens = std::max(most - new_tokens, most / 2);
    if (prompt_tokens >= most || prompt_tokens == 0)
      throw UsageError("prompts of " + std::to_string(prompt_tokens) +
                       " tokens leave no room for output in the model's context of " +
                       std::to_string(most) +
                       " (job.over_length: truncate keeps the end of a prompt)");
    new_tokens = std::min(new_tokens, most - prompt_tokens);
  }
  return {.rows = rows,
          .mean_prompt_tokens = static_cast<double>(prompt_tokens),
          .mean_new_tokens = static_cast<double>(new_tokens),
          .longest_prompt_tokens = prompt_tokens,
          .longest_row_tokens = prompt_tokens + new_tokens};
}

Workload measure_workload(const std::string& input, const RowContext& context,
                          const std::atomic<bool>& stop) {
  RowContext any_memory = context;
  any_memory.memory_context = 0;
  Workload workload{.scored = context.purpose == Purpose::kScore};
  EvenSample sample;
  RowReader reader(input, stop);
  while (const auto row = reader.next()) {
    if (row->error) continue;
    if (!sample.wants(workload.rows)) {
      note_longest(upper_bound(*row, any_memory), workload);
    } else {
      try {
        const RowSize size = exact_size(*row, any_memory);
        note_longest(size, workload);
        sample.add(size);
      } catch (const RowError&) {
        continue;
      }
    }
    ++workload.rows;
  }
  if (sample.rows().empty()) return workload;
  RowSize sum;
  for (const RowSize& row : sample.rows()) {
    sum.prompt_tokens += row.prompt_tokens;
    sum.new_tokens += row.new_tokens;
  }
  const auto count = static_cast<double>(sample.rows().size());
  workload.mean_prompt_tokens = static_cast<double>(sum.prompt_tokens) / count;
  workload.mean_new_tokens = static_cast<double>(sum.new_tokens) / count;
  return workload;
}

}  // namespace zerostream
