#include "offload/pack.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <functional>
#include <limits>
#include <mutex>
#include <set>
#include <thread>
#include <tuple>

#include "base/digest.h"
#include "model/input_file.h"
#include "offload/dummy_weights.h"
#include "offload/store_cache.h"
#include "offload/store_files.h"
#include "tests/offload/random_checkpoint.h"
#include "tests/support/temp_dir.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// The message of the error that `work` throws.
template <typename Expected>
std::string message_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Expected& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

float rounded(float value, DType dtype) {
  float bits = 0;
  store_float(&bits, dtype, 0, value);
  return load_float(&bits, dtype, 0);
}

const MatrixSpec& spec_of(const RandomCheckpoint& checkpoint, const StoredMatrix& run) {
  for (const MatrixSpec& spec : checkpoint.specs.matrices) {
    if (spec.role == run.role && spec.layer == run.layer) return spec;
  }
  throw InternalError("no such matrix");
}

// Compares every number of a run, padding included.
void expect_run(const RandomCheckpoint& checkpoint, const StoredMatrix& run,
                const std::byte* segment) {
  const MatrixSpec& spec = spec_of(checkpoint, run);
  const int64_t outputs = run.weight(segment).outputs;
  for (int64_t output = 0; output < outputs; ++output) {
    const int64_t in_run = run.gated ? output / 128 * 64 + output % 64 : output;
    const size_t half = run.gated ? static_cast<size_t>(output / 64 % 2) : 0;
    for (int64_t input = 0; input < run.inputs; ++input) {
      const float expected =
          in_run < run.outputs
              ? rounded(checkpoint.value(spec, run.output_begin + in_run, input, half), run.dtype)
              : 0;
      ASSERT_EQ(stored_value(run, segment, output, input), expected)
          << matrix_role_name(run.role) << " layer " << run.layer << " output " << output
          << " input " << input;
    }
  }
}

void expect_vectors(const RandomCheckpoint& checkpoint, const PackedStore& store,
                    const std::string& bytes) {
  for (size_t i = 0; i < store.vectors().size(); ++i) {
    const StoredVector& vector = store.vectors()[i];
    const VectorSpec& spec = checkpoint.specs.vectors[i];
    const float* values = reinterpret_cast<const float*>(
        bytes.data() + store.vectors_segment().offset + vector.offset);
    for (int64_t at = 0; at < vector.size; ++at) {
      const int64_t index = spec.gated ? at / 128 * 64 + at % 64 : at;
      const size_t half = spec.gated ? static_cast<size_t>(at / 64 % 2) : 0;
      ASSERT_EQ(values[at], index < spec.size ? checkpoint.value(spec, index, half) : 0)
          << vector_role_name(vector.role) << " element " << at;
    }
  }
}

class PackRoundTripTest
    : public testing::TestWithParam<std::tuple<const char*, DType, WeightLayout>> {};

TEST_P(PackRoundTripTest, StoreHoldsTheNumbersOfTheCheckpoint) {
  const auto [model, dtype, layout] = GetParam();
  const TempDir dir;
  const RandomCheckpoint checkpoint = make_random_checkpoint(
      std::strcmp(model, "gpt2") == 0 ? odd_gpt2_config() : odd_llama_config());
  checkpoint.write(dir.file("model"));
  pack_store(Checkpoint::open(dir.file("model")), dir.file("store"),
             {.dtype = dtype, .layout = layout});
  const PackedStore store = PackedStore::open(dir.file("store"));
  EXPECT_EQ(store.layout().dtype, dtype);
  EXPECT_EQ(store.config_json(), checkpoint.config);
  EXPECT_FALSE(store.has_tokenizer());
  const std::string bytes = read_file(store.weights_path());
  for (const Segment& segment : store.segments()) {
    const std::byte* data = reinterpret_cast<const std::byte*>(bytes.data()) + segment.offset;
    check_digest(segment, data, "weights.bin");
    for (const StoredMatrix& run : segment.matrices) expect_run(checkpoint, run, data);
  }
  expect_vectors(checkpoint, store, bytes);
  store.verify();
}

INSTANTIATE_TEST_SUITE_P(Kinds, PackRoundTripTest,
                         testing::Combine(testing::Values("llama", "gpt2"),
                                          testing::Values(DType::kF32, DType::kF16, DType::kBF16),
                                          testing::Values(WeightLayout::kTile64,
                                                          WeightLayout::kRows)),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param)) + "_" +
                                  std::string(dtype_name(std::get<1>(info.param))) + "_" +
                                  (std::get<2>(info.param) == WeightLayout::kRows ? "rows"
                                                                                  : "tile64");
                         });

// Compares every number of a quantised run with its source: half a step where nothing is clamped.
void expect_quantised_run(const RandomCheckpoint& checkpoint, const StoredMatrix& run,
                          const std::byte* segment) {
  const MatrixSpec& spec = spec_of(checkpoint, run);
  const int largest = run.dtype == DType::kI8 ? 255 : 15;
  for (int64_t output = 0; output < run.weight(segment).outputs; ++output) {
    const int64_t in_run = run.gated ? output / 128 * 64 + output % 64 : output;
    const size_t half = run.gated ? static_cast<size_t>(output / 64 % 2) : 0;
    for (int64_t input = 0; input < run.inputs; ++input) {
      const StoredCode stored = stored_code(run, segment, output, input);
      const float expected =
          in_run < run.outputs ? checkpoint.value(spec, run.output_begin + in_run, input, half) : 0;
      const float step = std::fabs(stored.scale);
      const bool clamped =
          !run.has_zeros && run.dtype == DType::kI4 && (stored.code == 0 || stored.code == largest);
      ASSERT_NEAR(stored.value(), expected, step * (clamped ? 2.6 : 0.5001))
          << matrix_role_name(run.role) << " layer " << run.layer << " output " << output
          << " input " << input;
    }
  }
}

using QuantisedKind = std::tuple<const char*, DType, int32_t, bool>;

class PackQuantisedTest : public testing::TestWithParam<QuantisedKind> {};

TEST_P(PackQuantisedTest, StoreHoldsTheNumbersOfTheCheckpoint) {
  const auto [model, dtype, group_size, asymmetric] = GetParam();
  const TempDir dir;
  const RandomCheckpoint checkpoint = make_random_checkpoint(
      std::strcmp(model, "gpt2") == 0 ? odd_gpt2_config() : odd_llama_config());
  checkpoint.write(dir.file("model"));
  for (const bool quantise_head : {false, true}) {
    pack_store(Checkpoint::open(dir.file("model")), dir.file("store"),
               {.dtype = dtype,
                .group_size = group_size,
                .asymmetric = asymmetric,
                .quantise_head = quantise_head,
                .overwrite = true});
    const PackedStore store = PackedStore::open(dir.file("store"));
    EXPECT_EQ(store.layout().dtype, dtype);
    EXPECT_EQ(store.layout().compute_dtype, DType::kBF16);
    const StoreFormat expected = {.dtype = dtype,
                                  .compute_dtype = DType::kBF16,
                                  .group_size = group_size,
                                  .has_zeros = asymmetric,
                                  .quantised_head = quantise_head};
    EXPECT_EQ(store.format(), expected);
    const std::string bytes = read_file(store.weights_path());
    for (const Segment& segment : store.segments()) {
      const std::byte* data = reinterpret_cast<const std::byte*>(bytes.data()) + segment.offset;
      for (const StoredMatrix& run : segment.matrices) {
        const bool quantised =
            run.layer != kNoLayer || (quantise_head && run.role == MatrixRole::kHead);
        ASSERT_EQ(run.group_size, quantised ? group_size : 0);
        quantised ? expect_quantised_run(checkpoint, run, data) : expect_run(checkpoint, run, data);
      }
    }
    expect_vectors(checkpoint, store, bytes);
    store.verify();
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, PackQuantisedTest,
                         testing::Combine(testing::Values("llama", "gpt2"),
                                          testing::Values(DType::kI8, DType::kI4),
                                          testing::Values(32, 64, 128), testing::Bool()),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param)) + "_" +
                                  std::string(dtype_name(std::get<1>(info.param))) + "_" +
                                  std::to_string(std::get<2>(info.param)) +
                                  (std::get<3>(info.param) ? "_asymmetric" : "");
                         });

class PackTest : public testing::Test {
 protected:
  PackTest() : random_(make_random_checkpoint(odd_llama_config())) { random_.write(model_); }
  void pack(const std::string& store, const PackOptions& options = {}) const {
    pack_store(Checkpoint::open(model_), store, options);
  }
  PackedStore open_or_pack_here(const std::string& store_folder, const PackOptions& options = {}) {
    return open_or_pack(model_, store_folder, dir_.file("cache"), options,
                        [this](const std::string& line) {
                          const std::lock_guard lock(mutex_);
                          notes_ += line + "\n";
                        });
  }

  const TempDir dir_;
  const std::string model_ = dir_.file("model");
  const std::string store_ = dir_.file("store");
  RandomCheckpoint random_;
  std::mutex mutex_;
  std::string notes_;
};

TEST_F(PackTest, TheSameCheckpointGivesTheSameBytes) {
  pack(store_);
  pack(dir_.file("again"));
  for (const char* name : {"weights.bin", "manifest.json", "COMPLETE", "config.json"}) {
    EXPECT_EQ(read_file(store_ + "/" + name), read_file(dir_.file("again/") + name)) << name;
  }
  EXPECT_FALSE(file_exists(store_ + ".lock"));
}

TEST_F(PackTest, ProgressEndsAtTheSizeOfTheFile) {
  int64_t last = 0, all = 0;
  PackOptions options;
  options.progress = [&](int64_t done, int64_t total) {
    EXPECT_GE(done, last);
    last = done;
    all = total;
  };
  pack(store_, options);
  EXPECT_EQ(last, all);
  EXPECT_EQ(static_cast<uintmax_t>(all), std::filesystem::file_size(store_ + "/weights.bin"));
}

TEST_F(PackTest, ProgressMayStopItAndNothingIsLeft) {
  PackOptions options;
  options.progress = [](int64_t, int64_t) { throw UsageError("stopped"); };
  EXPECT_THROW(pack(store_, options), UsageError);
  EXPECT_FALSE(file_exists(store_));
}

TEST_F(PackTest, ACompleteStoreIsReplacedOnlyOnRequest) {
  pack(store_, {.dtype = DType::kF32});
  EXPECT_THAT(message_of<UsageError>([&] { pack(store_); }), HasSubstr("complete store"));
  pack(store_, {.dtype = DType::kBF16, .overwrite = true});
  EXPECT_EQ(PackedStore::open(store_).layout().dtype, DType::kBF16);
}

TEST_F(PackTest, AHalfWrittenStoreIsReplaced) {
  pack(store_);
  std::filesystem::remove(store_ + "/COMPLETE");
  std::filesystem::resize_file(store_ + "/weights.bin", 4096);
  EXPECT_THAT(message_of<CheckpointError>([&] { PackedStore::open(store_); }),
              HasSubstr("not complete"));
  pack(store_);
  PackedStore::open(store_).verify();

  std::filesystem::remove(store_ + "/COMPLETE");
  std::filesystem::remove(store_ + "/manifest.json");
  pack(store_);
  PackedStore::open(store_).verify();
}

TEST_F(PackTest, AFolderOfOtherFilesIsRefusedAndLeftAlone) {
  EXPECT_THAT(message_of<UsageError>([&] { pack(model_, {.overwrite = true}); }),
              HasSubstr("other files"));
  EXPECT_TRUE(file_exists(model_ + "/model.safetensors"));
  EXPECT_TRUE(file_exists(model_ + "/config.json"));
  EXPECT_THROW(pack(model_ + "/config.json"), UsageError);
}

TEST_F(PackTest, AllBadTensorsAreListedAtOnce) {
  random_.tensors.erase("model.norm.weight");
  random_.tensors.erase("model.layers.1.mlp.up_proj.weight");
  random_.tensors.at("lm_head.weight").shape = {72, 203};
  random_.tensors["model.layers.2.mlp.up_proj.weight"] = {{1}, {1.0f}};
  random_.write(model_);
  EXPECT_THAT(message_of<CheckpointError>([&] { pack(store_); }),
              AllOf(HasSubstr("model.norm.weight [72]"),
                    HasSubstr("model.layers.1.mlp.up_proj.weight [150, 72]"),
                    HasSubstr("lm_head.weight is [72, 203], the config asks for [203, 72]"),
                    HasSubstr("model.layers.2.mlp.up_proj.weight"), HasSubstr("left over (1)")));
  EXPECT_FALSE(file_exists(store_));
}

TEST_F(PackTest, BuffersOfOldCheckpointsMayBeLeftOver) {
  random_.tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = {{6}, {1, 2, 3, 4, 5, 6}};
  random_.write(model_);
  pack(store_);

  RandomCheckpoint gpt2 = make_random_checkpoint(odd_gpt2_config());
  const std::string any = gpt2.tensors.begin()->first;
  const std::string prefix = any.starts_with("transformer.") ? "transformer." : "";
  gpt2.tensors[prefix + "h.0.attn.bias"] = {{1, 1, 2, 2}, {1, 0, 1, 1}};
  gpt2.tensors["lm_head.weight"] = {{131, 40}, std::vector<float>(131 * 40)};
  gpt2.write(dir_.file("gpt2"));
  pack_store(Checkpoint::open(dir_.file("gpt2")), dir_.file("gpt2-store"), {});
}

TEST_F(PackTest, ANumberTooLargeForTheDtypeIsNamed) {
  random_.tensors.at("model.layers.1.mlp.down_proj.weight").values[77] = 1e6f;
  random_.write(model_);
  EXPECT_THAT(message_of<CheckpointError>([&] { pack(store_, {.dtype = DType::kF16}); }),
              AllOf(HasSubstr("model.layers.1.mlp.down_proj.weight"), HasSubstr("fp16")));
  EXPECT_FALSE(file_exists(store_));
  pack(store_, {.dtype = DType::kBF16});
}

TEST_F(PackTest, OnlyDtypesOfTheFormatArePacked) {
  EXPECT_THROW(pack(store_, {.dtype = DType::kU8}), UsageError);
}

TEST_F(PackTest, OptionsThatDoNotGoTogetherAreRefused) {
  const std::pair<PackOptions, const char*> cases[] = {
      {{.dtype = DType::kI8, .layout = WeightLayout::kRows}, "in tiles only"},
      {{.dtype = DType::kI4, .group_size = 48}, "32, 64 or 128, not 48"},
      {{.dtype = DType::kBF16, .group_size = 32},
       "weights.group_size (--group-size) is for int8 and int4"},
      {{.asymmetric = true},
       "weights.asymmetric (--asymmetric) is for int8 and int4 weights, not for fp32"},
      {{.quantise_head = true}, "weights.quantise_head (--quantise-head) is for"}};
  for (const auto& [options, message] : cases)
    EXPECT_THAT(message_of<UsageError>([&, &asked = options] { pack(store_, asked); }),
                HasSubstr(message));
  EXPECT_FALSE(file_exists(store_));
}

TEST_F(PackTest, NumbersThatCannotBeQuantisedAreNamed) {
  for (const float bad :
       {1e9f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    random_.tensors.at("model.layers.1.mlp.down_proj.weight").values[77] = bad;
    random_.write(model_);
    EXPECT_THAT(message_of<CheckpointError>([&] { pack(store_, {.dtype = DType::kI4}); }),
                AllOf(HasSubstr("model.layers.1.mlp.down_proj.weight"), HasSubstr("int4")));
    EXPECT_FALSE(file_exists(store_));
  }
}

TEST_F(PackTest, EveryPartOfTheFormatIsPartOfTheFingerprint) {
  const Checkpoint checkpoint = Checkpoint::open(model_);
  std::set<std::string> fingerprints;
  const PackOptions kinds[] = {{},
                               {.dtype = DType::kBF16},
                               {.dtype = DType::kI8},
                               {.dtype = DType::kI4},
                               {.dtype = DType::kI8, .group_size = 32},
                               {.dtype = DType::kI8, .asymmetric = true},
                               {.dtype = DType::kI8, .quantise_head = true},
                               {.dtype = DType::kI8, .dummy_weights = true}};
  for (const PackOptions& options : kinds) {
    fingerprints.insert(pack_fingerprint(checkpoint, options));
  }
  EXPECT_EQ(fingerprints.size(), std::size(kinds));
  EXPECT_EQ(pack_fingerprint(checkpoint, {.dtype = DType::kI8}),
            pack_fingerprint(checkpoint, {.dtype = DType::kI8, .group_size = 64}));
}

TEST_F(PackTest, AGivenStoreMustBeWhatIsAskedFor) {
  pack(store_, {.dtype = DType::kI8, .group_size = 32});
  const auto open = [&](const PackOptions& options) {
    return open_or_pack(store_, "", dir_.file("cache"), options, [](const std::string&) {}).path();
  };
  EXPECT_EQ(open({}), store_);
  EXPECT_EQ(open({.dtype = DType::kI8}), store_);
  EXPECT_EQ(open({.group_size = 32}), store_);
  for (const PackOptions& other :
       {PackOptions{.dtype = DType::kI4}, PackOptions{.dtype = DType::kBF16},
        PackOptions{.group_size = 64}, PackOptions{.asymmetric = true},
        PackOptions{.quantise_head = true}}) {
    EXPECT_THAT(message_of<UsageError>([&] { open(other); }),
                HasSubstr(store_ + " is a packed store of int8-g32, not of "));
  }
}

TEST_F(PackTest, ADiskThatIsTooSmallIsFoundBeforeWriting) {
  Json config = odd_llama_config();
  config["hidden_size"] = 131072;
  config["intermediate_size"] = 1048576;
  config["num_hidden_layers"] = 50;
  std::filesystem::create_directories(dir_.file("huge"));
  write_file(dir_.file("huge/config.json"), config.dump());
  try {
    pack_store(Checkpoint::open_config_only(dir_.file("huge")), store_, {.dummy_weights = true});
    FAIL();
  } catch (const IoError& error) {
    EXPECT_EQ(error.error_number(), ENOSPC);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("TiB) are needed"), HasSubstr("are free")));
  }
  EXPECT_FALSE(file_exists(store_));
}

TEST_F(PackTest, AFileThatCannotBeReservedLeavesNothingBehind) {
  struct rlimit limit {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &limit), 0);
  const struct rlimit tiny { 4096, limit.rlim_max };
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &tiny), 0);
  std::string message;
  try {
    pack(store_);
  } catch (const IoError& error) {
    message = error.what();
  }
  setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, handler);
  EXPECT_THAT(message, HasSubstr("weights.bin"));
  EXPECT_FALSE(file_exists(store_));
}

TEST_F(PackTest, DummyWeightsAreTheSameEachTimeAndInEveryDtype) {
  std::filesystem::create_directories(dir_.file("bare"));
  write_file(dir_.file("bare/config.json"), odd_llama_config().dump());
  const Checkpoint checkpoint = Checkpoint::open_config_only(dir_.file("bare"));
  const auto packed = [&](const std::string& name, DType dtype) {
    pack_store(checkpoint, dir_.file(name), {.dtype = dtype, .dummy_weights = true});
    return PackedStore::open(dir_.file(name));
  };
  const PackedStore a = packed("a", DType::kF32), b = packed("b", DType::kF32),
                    c = packed("c", DType::kBF16);
  const std::string bytes_a = read_file(a.weights_path()), bytes_c = read_file(c.weights_path());
  EXPECT_EQ(bytes_a, read_file(b.weights_path()));
  EXPECT_NE(a.fingerprint(), c.fingerprint());
  EXPECT_EQ(a.manifest().at("dummy_weights"), true);

  double sum = 0, squares = 0;
  int64_t count = 0;
  for (size_t i = 0; i < a.segments().size(); ++i) {
    for (size_t m = 0; m < a.segments()[i].matrices.size(); ++m) {
      const StoredMatrix& run = a.segments()[i].matrices[m];
      for (int64_t output = 0; output < std::min<int64_t>(run.outputs, 64); ++output) {
        for (int64_t input = 0; input < run.inputs; ++input, ++count) {
          const auto at = [&](const PackedStore& store, const std::string& bytes) {
            const Segment& segment = store.segments()[i];
            return stored_value(segment.matrices[m],
                                reinterpret_cast<const std::byte*>(bytes.data()) + segment.offset,
                                output, input);
          };
          const float value = at(a, bytes_a);
          ASSERT_EQ(rounded(value, DType::kBF16), at(c, bytes_c));
          sum += value;
          squares += static_cast<double>(value) * value;
        }
      }
    }
  }
  EXPECT_NEAR(sum / static_cast<double>(count), 0, 1e-3);
  EXPECT_NEAR(std::sqrt(squares / static_cast<double>(count)), 0.02, 1e-3);
}

TEST_F(PackTest, DummyLayersDifferAndNormsAreOne) {
  std::filesystem::create_directories(dir_.file("bare"));
  write_file(dir_.file("bare/config.json"), odd_llama_config().dump());
  pack_store(Checkpoint::open_config_only(dir_.file("bare")), store_, {.dummy_weights = true});
  const PackedStore store = PackedStore::open(store_);
  std::set<uint64_t> digests;
  for (const Segment& segment : store.segments()) digests.insert(segment.digest);
  EXPECT_EQ(digests.size(), store.segments().size());
  const std::string bytes = read_file(store.weights_path());
  for (const StoredVector& vector : store.vectors()) {
    const float* values = reinterpret_cast<const float*>(bytes.data() + vector.offset);
    const bool norm = vector.role == VectorRole::kMlpNormWeight ||
                      vector.role == VectorRole::kAttentionNormWeight ||
                      vector.role == VectorRole::kFinalNormWeight;
    EXPECT_EQ(values[0] == 1.0f && values[vector.size - 1] == 1.0f, norm)
        << vector_role_name(vector.role);
  }
}

// Larger than what is packed at once, with rows that are no multiple of anything.
TEST_F(PackTest, MatricesOfManyChunks) {
  Json config = odd_llama_config();
  config["hidden_size"] = 260;
  config["vocab_size"] = 20011;
  std::filesystem::create_directories(dir_.file("bare"));
  write_file(dir_.file("bare/config.json"), config.dump());
  pack_store(Checkpoint::open_config_only(dir_.file("bare")), store_,
             {.dtype = DType::kF32, .dummy_weights = true});
  const PackedStore store = PackedStore::open(store_);
  store.verify();
  const std::string bytes = read_file(store.weights_path());
  const WeightSource weights = dummy_weights();
  const WeightSpecs specs = weight_specs(store.config());
  std::vector<float> row(260);
  for (const MatrixSpec* spec : {&specs.matrices.front(), &specs.matrices.back()}) {
    const Segment& segment =
        spec->role == MatrixRole::kHead ? store.segments().back() : store.segments().front();
    ASSERT_GT(segment.bytes, 17 << 20);
    for (int64_t output = 0; output < 20011; ++output) {
      weights.read_rows(spec->sources.front(), 260, output, 1, row.data());
      for (const int64_t input : {0, 17, 259}) {
        ASSERT_EQ(stored_value(segment.matrices.front(),
                               reinterpret_cast<const std::byte*>(bytes.data()) + segment.offset,
                               output, input),
                  row[static_cast<size_t>(input)])
            << segment.name << " output " << output;
      }
    }
  }
}

TEST_F(PackTest, OpenOrPackPacksOnceIntoTheCache) {
  const std::string path = open_or_pack_here("").path();
  EXPECT_THAT(notes_, HasSubstr("packing " + model_ + " into " + path));
  EXPECT_TRUE(path.starts_with(dir_.file("cache") + "/model-fp32-tile64-")) << path;
  notes_.clear();
  EXPECT_EQ(open_or_pack_here("").path(), path);
  EXPECT_EQ(notes_, "");
  EXPECT_NE(open_or_pack_here("", {.dtype = DType::kBF16}).path(), path);
  EXPECT_NE(open_or_pack_here("", {.layout = WeightLayout::kRows}).path(), path);
}

TEST_F(PackTest, AChangedCheckpointIsPackedAnew) {
  const std::string path = open_or_pack_here("").path();
  random_.tensors.begin()->second.values[0] += 1;
  random_.write(model_);
  const auto touched = std::filesystem::last_write_time(model_ + "/model.safetensors");
  std::filesystem::last_write_time(model_ + "/model.safetensors",
                                   touched + std::chrono::seconds(5));
  EXPECT_NE(open_or_pack_here("").path(), path);
}

TEST_F(PackTest, ADamagedStoreOfTheCacheIsPackedAgain) {
  const std::string path = open_or_pack_here("").path();
  std::filesystem::resize_file(path + "/weights.bin", 4096);
  notes_.clear();
  open_or_pack_here("").verify();
  EXPECT_THAT(notes_, AllOf(HasSubstr("weights.bin"), HasSubstr("packing")));
}

TEST_F(PackTest, AStoreFolderThatHoldsAnotherModelIsRefused) {
  open_or_pack_here(store_, {.dtype = DType::kF32});
  EXPECT_EQ(open_or_pack_here(store_, {.dtype = DType::kF32}).path(), store_);
  EXPECT_THAT(message_of<UsageError>([&] { open_or_pack_here(store_, {.dtype = DType::kBF16}); }),
              HasSubstr("another checkpoint, dtype, group size or layout"));
}

TEST_F(PackTest, AStoreIsItsOwnModelPath) {
  pack(store_, {.dtype = DType::kF32});
  const auto open = [&](const PackOptions& options) {
    return open_or_pack(store_, "", dir_.file("cache"), options, [](const std::string&) {});
  };
  EXPECT_EQ(open({}).path(), store_);
  EXPECT_EQ(open({.dtype = DType::kF32}).path(), store_);
  EXPECT_THAT(message_of<UsageError>([&] { open({.dtype = DType::kBF16}); }),
              AllOf(HasSubstr("fp32"), HasSubstr("bf16")));
  EXPECT_FALSE(file_exists(dir_.file("cache")));
}

TEST_F(PackTest, OfManyPackersAtOnceOneWorksAndTheOthersWait) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] { open_or_pack_here("").verify(); });
  }
  for (std::thread& thread : threads) thread.join();
  const size_t first = notes_.find("packing ");
  ASSERT_NE(first, std::string::npos) << notes_;
  EXPECT_EQ(notes_.find("packing ", first + 1), std::string::npos) << notes_;
}

TEST_F(PackTest, TheCacheIsListedAndCleared) {
  EXPECT_TRUE(list_cached_stores(dir_.file("cache")).empty());
  const std::string path = open_or_pack_here("").path();
  const std::string half = open_or_pack_here("", {.dtype = DType::kBF16}).path();
  std::filesystem::remove(half + "/COMPLETE");
  std::filesystem::create_directories(dir_.file("cache/something-else"));
  const std::vector<CachedStore> stores = list_cached_stores(dir_.file("cache"));
  ASSERT_EQ(stores.size(), 2u);
  for (const CachedStore& store : stores) {
    EXPECT_EQ(store.complete, store.path == path);
    EXPECT_GE(store.bytes,
              static_cast<int64_t>(std::filesystem::file_size(store.path + "/weights.bin")));
    remove_cached_store(store);
    EXPECT_FALSE(file_exists(store.path));
  }
}

}  // namespace
}  // namespace zerostream
