#include "cpu/cpu_kernels.h"

#include <algorithm>

#include "base/kernel_checks.h"
#include "base/require.h"
#include "cpu/attention.h"
#include "cpu/cpu_stream.h"
#include "cpu/linear.h"
#include "cpu/sequence_items.h"
#include "cpu/simd_rows.h"
#include "cpu/simd_softmax.h"
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
  cpu_attention(args, as_cpu_stream(stream));
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

void CpuKernels::accumulate_softmax(const AccumulateSoftmaxArgs& args, Stream& stream) {
  check_args(args);
  CpuStream& cpu_stream = as_cpu_stream(stream);
  const AccumulateSoftmaxOp operation = accumulate_softmax_op(cpu_stream.isa());
  cpu_stream.enqueue([args, operation, &cpu_stream] {
    cpu_stream.pool().parallel_for(args.logits.rows, [&](int, int64_t row) {
      operation(args.logits.row_as<float>(row), args.logits.cols, args.vocabulary_begin,
                args.targets[row], args.states[row]);
    });
  });
}

}  // namespace zerostream
