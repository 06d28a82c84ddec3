// What may be said about the sampling of a row, at every place where it may be said.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/json.h"
#include "offload/generator.h"

namespace zerostream {

// What one place (a row, the run file, generation_config.json) says; absent members are left to the
// next place. Values are checked when they are set.
struct SamplingSettings {
  std::optional<int32_t> max_new_tokens, min_new_tokens;
  std::optional<double> temperature;  // 0 (below 1e-5): greedy
  std::optional<int32_t> top_k;       // 0: off
  std::optional<double> top_p, min_p;
  std::optional<double> repetition_penalty, presence_penalty, frequency_penalty;
  std::optional<uint64_t> seed;
  std::optional<std::vector<std::string>> stop;
  std::optional<std::vector<int32_t>> stop_token_ids;
  std::optional<bool> ignore_eos;
  std::optional<int32_t> logprobs;  // 0: none
};

// Names of all members, as in run files and rows.
std::span<const std::string_view> sampling_names();

// Sets the member of that name, one of sampling_names(). Throws BadValue.
void set_sampling(SamplingSettings& settings, std::string_view name, const Json& value);

// `first` where it says something, else `second`.
SamplingSettings merge_sampling(const SamplingSettings& first, const SamplingSettings& second);

// Every member set: greedy, 64 tokens, nothing else.
SamplingSettings default_sampling();

// Members that are set, as JSON.
Json sampling_json(const SamplingSettings& settings);

// What a generation_config.json says. Without `do_sample: true` its temperature, top_k, top_p and
// min_p do not count and temperature is 0; with it, an absent temperature is 1. `ignored` gets the
// names of fields that would change the text and that this engine does not have. Throws
// CheckpointError naming `source` and the field for a value out of range.
SamplingSettings generation_config_sampling(const Json& config, const std::string& source,
                                            std::vector<std::string>* ignored);

// Puts settings with every member set into a request: all but its handle and prompt. The row's
// seed is mixed from settings.seed and the row's id (as JSON text): XXH3-64 of the text, seeded.
void apply_sampling(const SamplingSettings& settings, std::string_view row_id,
                    std::span<const int32_t> eos_ids, GenerationRequest& request);

}  // namespace zerostream
