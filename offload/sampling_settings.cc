#include "offload/sampling_settings.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <limits>

#include "base/require.h"
#include "offload/json_values.h"

namespace zerostream {
namespace {

constexpr int64_t kMostTokens = std::numeric_limits<int32_t>::max();

struct Field {
  std::string_view name;
  void (*set)(SamplingSettings&, const Json&);
  void (*fill)(SamplingSettings&, const SamplingSettings&);
  Json (*get)(const SamplingSettings&);
};

// The field of one member; `Read` (a lambda without captures) makes its value from JSON.
template <auto kMember, typename Read>
constexpr Field field(std::string_view name, Read) {
  return {name,
          [](SamplingSettings& settings, const Json& value) {
            using Value = typename std::decay_t<decltype(settings.*kMember)>::value_type;
            settings.*kMember = static_cast<Value>(Read{}(value));
          },
          [](SamplingSettings& settings, const SamplingSettings& other) {
            if (!(settings.*kMember)) settings.*kMember = other.*kMember;
          },
          [](const SamplingSettings& settings) {
            return settings.*kMember ? Json(*(settings.*kMember)) : Json();
          }};
}

template <int64_t kLow, int64_t kHigh>
constexpr auto integer = [](const Json& value) { return read_integer(value, kLow, kHigh); };

constexpr auto penalty = [](const Json& value) {
  return read_number(value, {.low = -100, .high = 100});
};

using S = SamplingSettings;
constexpr std::array kFields = {
    field<&S::max_new_tokens>("max_new_tokens", integer<1, kMostTokens>),
    field<&S::min_new_tokens>("min_new_tokens", integer<0, kMostTokens>),
    field<&S::temperature>("temperature",
                           [](const Json& v) { return read_number(v, {.low = 0, .high = 100}); }),
    field<&S::top_k>("top_k", integer<0, kMostTokens>),
    field<&S::top_p>(
        "top_p",
        [](const Json& v) { return read_number(v, {.low = 0, .high = 1, .open_low = true}); }),
    field<&S::min_p>("min_p", [](const Json& v) { return read_number(v, {.low = 0, .high = 1}); }),
    field<&S::repetition_penalty>(
        "repetition_penalty",
        [](const Json& v) { return read_number(v, {.low = 0, .high = 100, .open_low = true}); }),
    field<&S::presence_penalty>("presence_penalty", penalty),
    field<&S::frequency_penalty>("frequency_penalty", penalty),
    field<&S::seed>("seed", [](const Json& v) { return read_seed(v); }),
    field<&S::stop>("stop", [](const Json& v) { return read_strings(v); }),
    field<&S::stop_token_ids>("stop_token_ids", [](const Json& v) { return read_token_ids(v); }),
    field<&S::ignore_eos>("ignore_eos", [](const Json& v) { return read_bool(v); }),
    field<&S::logprobs>("logprobs", integer<0, SampleResult::kMaxTop>),
};

constexpr auto kNames = [] {
  std::array<std::string_view, kFields.size()> names;
  for (size_t i = 0; i < kFields.size(); ++i) names[i] = kFields[i].name;
  return names;
}();

bool changes_nothing(const Json& value, const Json& neutral) {
  return value.is_null() || value == neutral || (value.is_array() && value.empty());
}

}  // namespace

std::span<const std::string_view> sampling_names() { return kNames; }

void set_sampling(SamplingSettings& settings, std::string_view name, const Json& value) {
  const auto found = std::find_if(kFields.begin(), kFields.end(),
                                  [&](const Field& field) { return field.name == name; });
  require(found != kFields.end(), "the name of a sampling setting");
  found->set(settings, value);
}

SamplingSettings merge_sampling(const SamplingSettings& first, const SamplingSettings& second) {
  SamplingSettings merged = first;
  for (const Field& field : kFields) field.fill(merged, second);
  return merged;
}

SamplingSettings default_sampling() {
  return {.max_new_tokens = 64,
          .min_new_tokens = 0,
          .temperature = 0,
          .top_k = 0,
          .top_p = 1,
          .min_p = 0,
          .repetition_penalty = 1,
          .presence_penalty = 0,
          .frequency_penalty = 0,
          .seed = 0,
          .stop = std::vector<std::string>(),
          .stop_token_ids = std::vector<int32_t>(),
          .ignore_eos = false,
          .logprobs = 0};
}

Json sampling_json(const SamplingSettings& settings) {
  Json json = Json::object();
  for (const Field& field : kFields)
    if (Json value = field.get(settings); !value.is_null()) json[std::string(field.name)] = value;
  return json;
}

SamplingSettings generation_config_sampling(const Json& config, const std::string& source,
                                            std::vector<std::string>* ignored) {
  const auto value = [&](const char* name) {
    const auto found = config.find(name);
    return found == config.end() ? Json() : *found;
  };
  const bool sample = value("do_sample") == true;
  SamplingSettings settings;
  const auto take = [&](const char* name) {
    const Json given = value(name);
    if (given.is_null()) return;
    try {
      set_sampling(settings, name, given);
    } catch (const BadValue& bad) {
      throw CheckpointError(source + ": " + name + ": " + show_value(given) + " is not " +
                            bad.expected);
    }
  };
  settings.temperature = sample ? 1 : 0;
  if (sample)
    for (const char* name : {"temperature", "top_k", "top_p", "min_p"}) take(name);
  for (const char* name : {"repetition_penalty", "max_new_tokens", "min_new_tokens"}) take(name);

  const std::pair<const char*, Json> unsupported[] = {{"num_beams", 1},
                                                      {"no_repeat_ngram_size", 0},
                                                      {"bad_words_ids", nullptr},
                                                      {"suppress_tokens", {}},
                                                      {"begin_suppress_tokens", {}},
                                                      {"typical_p", 1.0},
                                                      {"epsilon_cutoff", 0.0},
                                                      {"eta_cutoff", 0.0},
                                                      {"encoder_repetition_penalty", 1.0},
                                                      {"guidance_scale", 1.0},
                                                      {"penalty_alpha", 0.0},
                                                      {"forced_bos_token_id", nullptr},
                                                      {"sequence_bias", nullptr},
                                                      {"forced_eos_token_id", nullptr}};
  for (const auto& [name, neutral] : unsupported)
    if (!changes_nothing(value(name), neutral)) ignored->push_back(name);
  return settings;
}

void apply_sampling(const SamplingSettings& settings, std::string_view row_id,
                    std::span<const int32_t> eos_ids, GenerationRequest& request) {
  const auto single = [](const std::optional<double>& value) {
    const auto number = static_cast<float>(value.value());
    return *value > 0 ? std::max(number, std::numeric_limits<float>::min()) : number;
  };
  constexpr double kGreedyBelow = 1e-5;  // logits divided by less leave the range of fp32
  request.sampling = {
      .temperature = *settings.temperature < kGreedyBelow ? 0.0f : single(settings.temperature),
      .top_k = settings.top_k.value(),
      .top_p = single(settings.top_p),
      .min_p = single(settings.min_p),
      .repetition_penalty = single(settings.repetition_penalty),
      .presence_penalty = single(settings.presence_penalty),
      .frequency_penalty = single(settings.frequency_penalty),
      .logprobs = settings.logprobs.value() > 0 ? settings.logprobs.value() : -1};
  request.seed = XXH3_64bits_withSeed(row_id.data(), row_id.size(), settings.seed.value());
  request.max_new_tokens = settings.max_new_tokens.value();
  request.min_new_tokens = settings.min_new_tokens.value();
  request.stop_strings = settings.stop.value();
  request.stop_token_ids = settings.stop_token_ids.value();
  if (!settings.ignore_eos.value())
    request.stop_token_ids.insert(request.stop_token_ids.end(), eos_ids.begin(), eos_ids.end());
}

}  // namespace zerostream
