#include "cpu/cpu_kernels.h"

#include <algorithm>

#include "base/require.h"
#include "cpu/cpu_stream.h"
#include "cpu/kernel_checks.h"
#include "cpu/linear.h"
#include "cpu/simd_attention.h"
#include "cpu/simd_rows.h"
#include "cpu/simd_write_kv.h"

namespace zerostream {
namespace {

// Elements that are worth handing to another worker.
constexpr int64_t kElementsPerItem = 16384;
constexpr int64_t kWriteKvRows = 16;

CpuStream& as_cpu_stream(Stream& stream) {
  auto* cpu_stream = dynamic_cast<CpuStream*>(&stream);
  require(cpu_stream != nullptr, "the stream is one of a CPU device");
  return *cpu_stream;
}

template <typename Args>
using RangeOp = void (*)(const Args& args, int64_t begin, int64_t end);

template <typename Args>
void enqueue_rows(Stream& stream, const Args& args, RangeOp<Args> operation) {
  check_args(args);
  CpuStream& cpu_stream = as_cpu_stream(stream);
  cpu_stream.enqueue([=, &pool = cpu_stream.pool()] {
    const int64_t rows = args.target.rows;
    const int64_t step = std::max<int64_t>(1, kElementsPerItem / args.target.cols);
    pool.parallel_for(ceil_div(rows, step), [&](int, int64_t index) {
      operation(args, index * step, std::min((index + 1) * step, rows));
    });
  });
}

// Finds the sequence of an item of work, where sequence s has items_of(s) of them. Remembers the
// last one: a worker's items ascend within a call.
struct SequenceCursor {
  int32_t sequence = 0;
  int64_t first_item = 0;

  template <typename ItemsOf>
  int64_t seek(int64_t item, const ItemsOf& items_of) {
    for (int64_t items; item - first_item >= (items = items_of(sequence)); ++sequence)
      first_item += items;
    return item - first_item;
  }
};

// A worker's scratch: the cursor, then what the operation needs.
constexpr int64_t kCursorBytes = 64;
SequenceCursor& cursor_of(CpuStream& stream, int worker) {
  return *reinterpret_cast<SequenceCursor*>(stream.scratch(worker));
}
float* floats_of(CpuStream& stream, int worker) {
  return reinterpret_cast<float*>(stream.scratch(worker) + kCursorBytes);
}

// Runs body(worker, sequence, item of the sequence) for all items of all sequences.
template <typename ItemsOf, typename Body>
void for_sequences(CpuStream& stream, int32_t num_sequences, const ItemsOf& items_of,
                   const Body& body) {
  int64_t items = 0;
  for (int32_t s = 0; s < num_sequences; ++s) items += items_of(s);
  for (int worker = 0; worker < stream.pool().workers(); ++worker) cursor_of(stream, worker) = {};
  stream.pool().parallel_for(items, [&](int worker, int64_t index) {
    SequenceCursor& cursor = cursor_of(stream, worker);
    const int64_t item = cursor.seek(index, items_of);
    body(worker, cursor.sequence, item);
  });
}

void run_write_kv(const WriteKvArgs& args, CpuStream& stream) {
  const WriteKvOp operation = write_kv_op(stream.isa());
  const auto items_of = [&](int32_t s) { return ceil_div(args.sequences[s].rows, kWriteKvRows); };
  for_sequences(stream, args.num_sequences, items_of, [&](int worker, int32_t s, int64_t item) {
    const int64_t begin = item * kWriteKvRows;
    operation(args, args.sequences[s], begin,
              std::min<int64_t>(begin + kWriteKvRows, args.sequences[s].rows),
              floats_of(stream, worker));
  });
}

// Items of a sequence: its row blocks, those with the most positions first, each for all KV heads.
void run_attention(const AttentionArgs& args, CpuStream& stream) {
  const AttentionOp operation = attention_op(stream.isa());
  const int64_t kv_heads = args.kv.num_key_value_heads;
  const int64_t group = args.query.cols / args.kv.head_dim / kv_heads;
  const auto rows_of = [&](int32_t s) { return args.sequences[s].rows * group; };
  const auto items_of = [&](int32_t s) { return ceil_div(rows_of(s), kAttentionRows) * kv_heads; };
  for_sequences(stream, args.num_sequences, items_of, [&](int worker, int32_t s, int64_t item) {
    const int64_t begin = (items_of(s) - 1 - item) / kv_heads * kAttentionRows;
    operation(args,
              {.sequence = &args.sequences[s],
               .kv_head = item % kv_heads,
               .row_begin = begin,
               .row_end = std::min(begin + kAttentionRows, rows_of(s))},
              AttentionScratch::in(floats_of(stream, worker), args.kv.head_dim));
  });
}

void require_scratch(const CpuStream& stream, int64_t floats) {
  require(kCursorBytes + floats * int64_t{sizeof(float)} <= stream.scratch_bytes(),
          "a worker's scratch holds what heads of this size need");
}

}  // namespace

CpuKernels::CpuKernels(const CpuDevice& device, int64_t max_vocabulary) {
  sample_scratch_.reserve(static_cast<size_t>(device.threads()));
  for (int worker = 0; worker < device.threads(); ++worker)
    sample_scratch_.emplace_back(max_vocabulary);
}

void CpuKernels::embed(const EmbedArgs& args, Stream& stream) {
  enqueue_rows(stream, args, row_ops(as_cpu_stream(stream).isa()).embed);
}

void CpuKernels::norm(const NormArgs& args, Stream& stream) {
  enqueue_rows(stream, args, row_ops(as_cpu_stream(stream).isa()).norm);
}

void CpuKernels::convert(const ConvertArgs& args, Stream& stream) {
  enqueue_rows(stream, args, row_ops(as_cpu_stream(stream).isa()).convert);
}

void CpuKernels::linear(const LinearArgs& args, Stream& stream) {
  cpu_linear(args, as_cpu_stream(stream));
}

void CpuKernels::write_kv(const WriteKvArgs& args, Stream& stream) {
  check_args(args);
  CpuStream& cpu_stream = as_cpu_stream(stream);
  require_scratch(cpu_stream, args.kv.head_dim);
  cpu_stream.enqueue([args, &cpu_stream] { run_write_kv(args, cpu_stream); });
}

void CpuKernels::attention(const AttentionArgs& args, Stream& stream) {
  check_args(args);
  CpuStream& cpu_stream = as_cpu_stream(stream);
  require_scratch(cpu_stream, AttentionScratch::floats(args.kv.head_dim));
  cpu_stream.enqueue([args, &cpu_stream] { run_attention(args, cpu_stream); });
}

void CpuKernels::sample(const SampleArgs& args, Stream& stream) {
  check_args(args);
  CpuStream& cpu_stream = as_cpu_stream(stream);
  require(args.logits.cols <= sample_scratch_.front().max_vocabulary(),
          "the vocabulary is at most what these kernels were made for");
  require(cpu_stream.pool().workers() <= static_cast<int>(sample_scratch_.size()),
          "the stream is one of the device that these kernels were made for");
  const SampleOps& ops = sample_ops(cpu_stream.isa());
  cpu_stream.enqueue([this, args, &ops, &cpu_stream] {
    cpu_stream.pool().parallel_for(args.logits.rows, [&](int worker, int64_t row) {
      sample_row(args.logits.row_as<float>(row), args.logits.cols, args.rows[row], ops,
                 sample_scratch_[static_cast<size_t>(worker)], args.results[row]);
    });
  });
}

}  // namespace zerostream
