#include "model/rope_config.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>
#include <string>

namespace zerostream {
namespace {

constexpr ConfigFields::Range kContext = {1, int64_t{1} << 40};

// Where the settings stand and what completes them.
struct RopeFields {
  ConfigFields scaling;
  double theta;
  double original_max_position_embeddings;
  double max_position_embeddings;
};

// theta^(2i / dimensions): positions per radian of pair i.
float period(double theta, size_t pair, size_t pairs) {
  const float exponent = static_cast<float>(2 * pair) / static_cast<float>(2 * pairs);
  return std::pow(static_cast<float>(theta), exponent);
}

std::vector<float> plain_frequencies(double theta, int32_t head_dim) {
  std::vector<float> result(static_cast<size_t>(head_dim / 2));
  for (size_t i = 0; i < result.size(); ++i) result[i] = 1.0f / period(theta, i, result.size());
  return result;
}

void scale_linear(const RopeFields& fields, RopeConfig& rope) {
  const auto factor = static_cast<float>(fields.scaling.number("factor"));
  for (float& frequency : rope.inverse_frequencies) frequency /= factor;
}

// Long waves are stretched by the factor, short ones kept, those between interpolated.
void scale_llama3(const RopeFields& fields, RopeConfig& rope) {
  const auto factor = static_cast<float>(fields.scaling.number("factor"));
  const double low = fields.scaling.number("low_freq_factor");
  const double high = fields.scaling.number("high_freq_factor");
  if (high <= low) fields.scaling.refuse("high_freq_factor", "expected more than low_freq_factor");
  const double context = fields.original_max_position_embeddings;
  for (float& frequency : rope.inverse_frequencies) {
    const float wave = static_cast<float>(2 * std::numbers::pi) / frequency;
    if (wave > static_cast<float>(context / low)) {
      frequency /= factor;
    } else if (wave >= static_cast<float>(context / high)) {
      const float smooth = (static_cast<float>(context) / wave - static_cast<float>(low)) /
                           static_cast<float>(high - low);
      frequency = (1 - smooth) * frequency / factor + smooth * frequency;
    }
  }
}

double yarn_mscale(double scale, double mscale) {
  return scale <= 1 ? 1.0 : 0.1 * mscale * std::log(scale) + 1.0;
}

double yarn_attention_factor(const RopeFields& fields, double factor) {
  if (fields.scaling.has("attention_factor")) return fields.scaling.number("attention_factor");
  if (fields.scaling.has("mscale") && fields.scaling.has("mscale_all_dim"))
    return yarn_mscale(factor, fields.scaling.number("mscale")) /
           yarn_mscale(factor, fields.scaling.number("mscale_all_dim"));
  return yarn_mscale(factor, 1);
}

// Frequencies go from kept to divided along a ramp between the dimensions that turn beta_fast and
// beta_slow times within the original context.
void scale_yarn(const RopeFields& fields, RopeConfig& rope) {
  const double original = fields.original_max_position_embeddings;
  const double factor =
      fields.scaling.number_or("factor", fields.max_position_embeddings / original);
  rope.attention_factor = static_cast<float>(yarn_attention_factor(fields, factor));

  const size_t pairs = rope.inverse_frequencies.size();
  const auto dimensions = static_cast<double>(2 * pairs);
  const auto dimension_of = [&](double rotations) {
    return dimensions * std::log(original / (rotations * 2 * std::numbers::pi)) /
           (2 * std::log(fields.theta));
  };
  double low = dimension_of(fields.scaling.number_or("beta_fast", 32));
  double high = dimension_of(fields.scaling.number_or("beta_slow", 1));
  if (fields.scaling.flag_or("truncate", true)) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dimensions - 1);
  if (low == high) high += 0.001;

  for (size_t i = 0; i < pairs; ++i) {
    const float ramp = std::clamp(
        (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low), 0.0f,
        1.0f);
    const float kept = 1 - ramp;
    const float interpolated = 1.0f / (static_cast<float>(factor) * period(fields.theta, i, pairs));
    float& frequency = rope.inverse_frequencies[i];
    frequency = interpolated * (1 - kept) + frequency * kept;
  }
}

void scale_divisors(const RopeFields& fields, RopeConfig& rope) {
  const std::vector<double> divisors = fields.scaling.numbers("divisors");
  if (divisors.size() != rope.inverse_frequencies.size())
    fields.scaling.refuse("divisors", "expected one for each of " +
                                          std::to_string(rope.inverse_frequencies.size()) +
                                          " frequencies");
  for (size_t i = 0; i < divisors.size(); ++i)
    rope.inverse_frequencies[i] /= static_cast<float>(divisors[i]);
}

// rope_scaling wins over rope_parameters, as in transformers; "type" is its old spelling of
// "rope_type".
std::optional<std::string> rope_object_key(const ConfigFields& fields) {
  for (const char* key : {"rope_scaling", "rope_parameters"})
    if (const Json* value = fields.find(key); value != nullptr && !value->empty()) return key;
  return std::nullopt;
}

void check_plain(const ConfigFields& fields) {
  if (fields.has("partial_rotary_factor") && fields.number("partial_rotary_factor") != 1)
    fields.refuse("partial_rotary_factor", "partly rotated heads are not supported");
}

}  // namespace

RopeConfig read_rope_config(const ConfigFields& fields, const ModelConfig& config) {
  constexpr double kDefaultTheta = 10000;
  RopeConfig rope;
  rope.kind = RopeKind::kHalf;
  check_plain(fields);
  const double outer_theta = fields.number_or("rope_theta", kDefaultTheta);
  const auto key = rope_object_key(fields);
  if (!key) {
    rope.inverse_frequencies = plain_frequencies(outer_theta, config.head_dim);
    return rope;
  }

  const ConfigFields scaling = fields.object(*key);
  check_plain(scaling);
  const auto type_key = scaling.spelling({"rope_type", "type"});
  const std::string type = scaling.text_or(type_key, "default");
  const auto context = fields.has("original_max_position_embeddings") ? fields : scaling;
  const RopeFields found = {
      scaling, scaling.number_or("rope_theta", outer_theta),
      static_cast<double>(context.integer_or("original_max_position_embeddings",
                                             config.max_position_embeddings, kContext)),
      static_cast<double>(config.max_position_embeddings)};
  if (found.theta <= 1) scaling.refuse("rope_theta", "expected a number greater than 1");
  rope.inverse_frequencies = plain_frequencies(found.theta, config.head_dim);
  if (type == "linear") {
    scale_linear(found, rope);
  } else if (type == "llama3") {
    scale_llama3(found, rope);
  } else if (type == "yarn") {
    scale_yarn(found, rope);
  } else if (type == "divisors") {
    scale_divisors(found, rope);
  } else if (type != "default") {
    scaling.refuse(type_key, "supported are default, linear, llama3 and yarn");
  }
  return rope;
}

}  // namespace zerostream
