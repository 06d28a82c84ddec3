// A row's query, keys, values and attention have the same bits however the rows of its sequence are
// cut into calls, whatever else is in the call, wherever its blocks lie and however many workers
// there are.
#include <gtest/gtest.h>

#include "tests/cpu/backends.h"
#include "tests/cpu/kernel_fixture.h"

namespace zerostream {
namespace {

constexpr int32_t kBlockTokens = 16;

struct Model {
  DType kv_dtype;
  int32_t kv_heads, group, head_dim, window;
  bool alibi;
};

// The bytes that came out, for each row of a sequence.
struct Results {
  std::vector<std::string> query, attention, kv;
};

struct Sequence {
  Matrix qkv, cosines, sines;
  Results results;

  Sequence(const Model& model, int64_t length, std::mt19937& random)
      : qkv(DType::kF32, length, (model.group + 2) * model.kv_heads * model.head_dim),
        cosines(DType::kF32, length, std::max(1, model.head_dim / 2)),
        sines(DType::kF32, length, std::max(1, model.head_dim / 2)) {
    qkv.randomise(random);
    cosines.randomise(random);
    sines.randomise(random);
  }
  int32_t length() const { return static_cast<int32_t>(qkv.rows()); }
};

// Rows that one call takes of one sequence.
struct Step {
  size_t sequence;
  int32_t rows;
};
using Call = std::vector<Step>;

class Runner {
 public:
  Runner(const Model& model, Kernels& kernels, Stream& stream)
      : model_(model),
        kernels_(kernels),
        stream_(stream),
        norm_weight_(static_cast<size_t>(model.head_dim), 1.25f),
        slopes_(static_cast<size_t>(model.group * model.kv_heads), 0.03f) {}

  // Runs all calls, filling each sequence's results; blocks lie in random order.
  void run(const std::vector<Call>& calls, std::vector<Sequence>& sequences, std::mt19937& random) {
    int32_t blocks = 0;
    for (const Sequence& s : sequences)
      blocks += static_cast<int32_t>(ceil_div(s.length(), kBlockTokens));
    std::vector<int32_t> free = shuffled_blocks(blocks, random);
    tables_.clear();
    for (Sequence& s : sequences) {
      const auto wanted = static_cast<std::ptrdiff_t>(ceil_div(s.length(), kBlockTokens));
      tables_.emplace_back(free.end() - wanted, free.end());
      free.resize(free.size() - static_cast<size_t>(wanted));
      s.results = {};
    }
    KvPool pool(model_.kv_dtype, model_.kv_heads, model_.head_dim, kBlockTokens, blocks);
    for (const Call& call : calls) run_call(call, pool.view(), sequences);
    for (size_t s = 0; s < sequences.size(); ++s) read_kv(pool.view(), tables_[s], sequences[s]);
  }

 private:
  static void copy_rows(const Matrix& from, int64_t begin, int64_t rows, Matrix& to, int64_t at) {
    for (int64_t row = 0; row < rows; ++row)
      std::memcpy(to.view().row(at + row), from.view().row(begin + row),
                  static_cast<size_t>(dtype_bytes(DType::kF32, from.cols())));
  }

  void run_call(const Call& call, const KvLayerView& kv, std::vector<Sequence>& sequences) {
    int32_t rows = 0;
    std::vector<SequenceSpan> spans;
    for (const Step& step : call) {
      const auto done = static_cast<int32_t>(sequences[step.sequence].results.query.size());
      spans.push_back({rows, step.rows, done, tables_[step.sequence].data()});
      rows += step.rows;
    }
    Matrix qkv(DType::kF32, rows, sequences[0].qkv.cols());
    Matrix cosines(DType::kF32, rows, sequences[0].cosines.cols());
    Matrix sines(DType::kF32, rows, sequences[0].sines.cols());
    for (size_t i = 0; i < call.size(); ++i) {
      const Sequence& s = sequences[call[i].sequence];
      const SequenceSpan& span = spans[i];
      copy_rows(s.qkv, span.position_begin, span.rows, qkv, span.row_begin);
      copy_rows(s.cosines, span.position_begin, span.rows, cosines, span.row_begin);
      copy_rows(s.sines, span.position_begin, span.rows, sines, span.row_begin);
    }
    const int64_t cols = int64_t{model_.group} * model_.kv_heads * model_.head_dim;
    Matrix query(DType::kF32, rows, cols), attention(DType::kF32, rows, cols);
    kernels_.write_kv({.qkv = qkv.view(),
                       .query_norm = norm_weight_.data(),
                       .key_norm = nullptr,
                       .rope = model_.head_dim > 1 ? RopeKind::kHalf : RopeKind::kNone,
                       .rope_cols = model_.head_dim / 2,
                       .rope_cos = cosines.floats(),
                       .rope_sin = sines.floats(),
                       .sequences = spans.data(),
                       .num_sequences = static_cast<int32_t>(spans.size()),
                       .kv = kv,
                       .query = query.view()},
                      stream_);
    kernels_.attention({.query = query.view(),
                        .kv = kv,
                        .sequences = spans.data(),
                        .num_sequences = static_cast<int32_t>(spans.size()),
                        .scale = 0.2f,
                        .sliding_window = model_.window,
                        .alibi_slopes = model_.alibi ? slopes_.data() : nullptr,
                        .target = attention.view()},
                       stream_);
    stream_.synchronize();
    for (size_t i = 0; i < call.size(); ++i)
      for (int32_t row = 0; row < spans[i].rows; ++row) {
        sequences[call[i].sequence].results.query.push_back(
            query.row_bytes(spans[i].row_begin + row));
        sequences[call[i].sequence].results.attention.push_back(
            attention.row_bytes(spans[i].row_begin + row));
      }
  }

  void read_kv(const KvLayerView& kv, const std::vector<int32_t>& table, Sequence& sequence) {
    const auto cell = static_cast<size_t>(dtype_bytes(kv.dtype, kv.head_dim));
    for (int32_t position = 0; position < sequence.length(); ++position) {
      const int32_t block = table[static_cast<size_t>(position / kBlockTokens)];
      const size_t offset = static_cast<size_t>(position % kBlockTokens) * cell;
      std::string bytes;
      for (int32_t head = 0; head < kv.num_key_value_heads; ++head) {
        bytes.append(reinterpret_cast<const char*>(kv.key(block, head)) + offset, cell);
        bytes.append(reinterpret_cast<const char*>(kv.value(block, head)) + offset, cell);
        if (kv.dtype != DType::kI8) continue;
        for (const float* scales : {kv.key_scales(block, head), kv.value_scales(block, head)})
          bytes.append(reinterpret_cast<const char*>(scales + position % kBlockTokens),
                       sizeof(float));
      }
      sequence.results.kv.push_back(bytes);
    }
  }

  const Model model_;
  Kernels& kernels_;
  Stream& stream_;
  const std::vector<float> norm_weight_, slopes_;
  std::vector<std::vector<int32_t>> tables_;
};

// Every sequence alone, in chunks of at most `chunk` rows.
std::vector<Call> alone(const std::vector<Sequence>& sequences, int32_t chunk) {
  std::vector<Call> calls;
  for (size_t s = 0; s < sequences.size(); ++s)
    for (int32_t done = 0; done < sequences[s].length(); done += chunk)
      calls.push_back({{s, std::min(chunk, sequences[s].length() - done)}});
  return calls;
}

// All sequences beside each other, random rows of random ones in each call.
std::vector<Call> mixed(const std::vector<Sequence>& sequences, int32_t most,
                        std::mt19937& random) {
  std::vector<int32_t> left;
  for (const Sequence& s : sequences) left.push_back(s.length());
  std::vector<Call> calls;
  while (std::any_of(left.begin(), left.end(), [](int32_t rows) { return rows > 0; })) {
    Call call;
    for (size_t s = 0; s < left.size(); ++s) {
      if (left[s] == 0 || random() % 4 == 0) continue;
      const int32_t rows =
          random() % 2 == 0 ? 1 : 1 + static_cast<int32_t>(random() % static_cast<uint32_t>(most));
      call.push_back({s, std::min(rows, left[s])});
      left[s] -= call.back().rows;
    }
    std::shuffle(call.begin(), call.end(), random);
    if (!call.empty()) calls.push_back(call);
  }
  return calls;
}

class AttentionInvarianceTest : public BackendTest {
 protected:
  void check(const Model& model, const std::vector<int64_t>& lengths = {1, 70, 203, 64, 17}) {
    std::mt19937 random(static_cast<uint32_t>(model.head_dim + model.window));
    std::vector<Sequence> sequences;
    for (const int64_t length : lengths) sequences.emplace_back(model, length, random);
    Runner(model, kernels_, *stream_).run(alone(sequences, 1000), sequences, random);
    std::vector<Results> expected;
    for (const Sequence& s : sequences) expected.push_back(s.results);

    CpuDevice single({.threads = 1, .max_isa = GetParam().isa});
    const std::unique_ptr<Stream> single_stream = single.make_compute_stream();
    const auto compare = [&](const std::vector<Call>& calls, Stream& stream) {
      Runner(model, kernels_, stream).run(calls, sequences, random);
      for (size_t s = 0; s < sequences.size(); ++s) {
        EXPECT_TRUE(sequences[s].results.query == expected[s].query) << "sequence " << s;
        EXPECT_TRUE(sequences[s].results.kv == expected[s].kv) << "sequence " << s;
        EXPECT_TRUE(sequences[s].results.attention == expected[s].attention) << "sequence " << s;
      }
    };
    compare(alone(sequences, 1), *stream_);
    compare(alone(sequences, 23), *single_stream);
    for (const int32_t most : {3, 90, 90}) compare(mixed(sequences, most, random), *stream_);
  }
};
INSTANTIATE_TEST_SUITE_P(Cpu, AttentionInvarianceTest, ::testing::ValuesIn(kBackends),
                         backend_name);

TEST_P(AttentionInvarianceTest, Fp32) {
  check({DType::kF32, 2, 1, 16, 0, false});
  check({DType::kF32, 1, 3, 64, 0, false});
}
TEST_P(AttentionInvarianceTest, Bf16) { check({DType::kBF16, 2, 3, 40, 0, false}); }
TEST_P(AttentionInvarianceTest, Fp16) { check({DType::kF16, 1, 5, 80, 0, false}); }
TEST_P(AttentionInvarianceTest, Int8) {
  check({DType::kI8, 2, 3, 40, 0, false});
  check({DType::kI8, 1, 1, 64, 50, true});
}
// Contexts long enough to be shared out over workers, and short ones beside them.
TEST_P(AttentionInvarianceTest, LongContext) {
  check({DType::kF32, 1, 2, 8, 0, false}, {1100, 20});
  check({DType::kI8, 2, 1, 8, 600, true}, {1300, 700, 3});
}
TEST_P(AttentionInvarianceTest, OddHead) { check({DType::kBF16, 1, 2, 7, 0, true}); }
TEST_P(AttentionInvarianceTest, SlidingWindow) {
  check({DType::kF32, 1, 2, 16, 50, false});
  check({DType::kBF16, 1, 1, 32, 1, false});
  check({DType::kF16, 1, 1, 8, 64, true});
}

}  // namespace
}  // namespace zerostream
