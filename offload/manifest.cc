#include "offload/manifest.h"

#include <array>
#include <optional>

#include "base/digest.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr std::string_view kFormatName = "zerostream-store";

// Names and values of an enumeration come from its name function.
template <typename Enum, typename Name>
std::optional<Enum> from_name(const std::string& text, Enum last, Name name) {
  for (int value = 0; value <= static_cast<int>(last); ++value) {
    if (name(static_cast<Enum>(value)) == text) return static_cast<Enum>(value);
  }
  return std::nullopt;
}

// An object of the manifest and where it is, for messages.
struct Node {
  const Json& json;
  std::string where;

  [[noreturn]] void fail(const char* key, const std::string& problem) const {
    throw CheckpointError(where + ": \"" + key + "\" " + problem);
  }
  const Json& at(const char* key) const {
    if (!has(key)) fail(key, "is missing");
    return json.at(key);
  }
  int64_t integer(const char* key) const {
    const Json& value = at(key);
    if (!value.is_number_unsigned() || value.get<uint64_t>() > INT64_MAX) {
      fail(key, "is no whole number");
    }
    return value.get<int64_t>();
  }
  bool has(const char* key) const { return json.is_object() && json.contains(key); }
  bool flag(const char* key) const {
    const Json& value = at(key);
    if (!value.is_boolean()) fail(key, "is neither true nor false");
    return value.get<bool>();
  }
  int32_t layer() const {
    if (!has("layer")) return kNoLayer;
    const int64_t value = integer("layer");
    if (value > INT32_MAX) fail("layer", "is too large");
    return static_cast<int32_t>(value);
  }
  std::string text(const char* key) const {
    const Json& value = at(key);
    if (!value.is_string()) fail(key, "is no string");
    return value.get<std::string>();
  }
  template <typename Value>
  Value known(const char* key, std::optional<Value> value) const {
    if (!value) fail(key, "has the unknown value \"" + text(key) + "\"");
    return *value;
  }
  uint64_t digest() const { return known("digest", digest_from_hex(text("digest"))); }
  DType dtype(const char* key = "dtype") const { return known(key, dtype_from_name(text(key))); }
  int32_t group_size() const {
    const int64_t value = integer("group_size");
    if (value != 32 && value != 64 && value != 128) fail("group_size", "is not 32, 64 or 128");
    return static_cast<int32_t>(value);
  }
  WeightLayout layout() const {
    return known("layout", from_name(text("layout"), WeightLayout::kRows, layout_name));
  }
  template <typename Visit>
  void each(const char* key, Visit visit) const {
    const Json& array = at(key);
    if (!array.is_array()) fail(key, "is no array");
    for (size_t i = 0; i < array.size(); ++i) {
      visit(Node{array[i], where + ": " + key + "[" + std::to_string(i) + "]"});
    }
  }
};

Json layer_json(int32_t layer) {
  return layer == kNoLayer ? Json::object() : Json{{"layer", layer}};
}

Json matrix_json(const StoredMatrix& matrix) {
  Json json = layer_json(matrix.layer);
  json["role"] = matrix_role_name(matrix.role);
  json["gated"] = matrix.gated;
  json["dtype"] = dtype_name(matrix.dtype);
  json["layout"] = layout_name(matrix.layout);
  if (matrix.group_size != 0) {
    json["group_size"] = matrix.group_size;
    json["has_zeros"] = matrix.has_zeros;
  }
  json["inputs"] = matrix.inputs;
  json["output_begin"] = matrix.output_begin;
  json["outputs"] = matrix.outputs;
  json["offset"] = matrix.offset;
  return json;
}

StoredMatrix matrix_from(const Node& node) {
  StoredMatrix matrix;
  matrix.role =
      node.known("role", from_name(node.text("role"), MatrixRole::kHead, matrix_role_name));
  matrix.layer = node.layer();
  matrix.gated = node.flag("gated");
  matrix.dtype = node.dtype();
  if (is_quantised(matrix.dtype)) {
    matrix.group_size = node.group_size();
    matrix.has_zeros = node.flag("has_zeros");
  }
  matrix.layout = node.layout();
  matrix.inputs = node.integer("inputs");
  matrix.output_begin = node.integer("output_begin");
  matrix.outputs = node.integer("outputs");
  matrix.offset = node.integer("offset");
  return matrix;
}

Json format_json(const StoreFormat& format) {
  Json json = {{"dtype", dtype_name(format.dtype)},
               {"compute_dtype", dtype_name(format.compute_dtype)},
               {"layout", layout_name(format.layout)}};
  if (!format.quantised()) return json;
  json["group_size"] = format.group_size;
  json["has_zeros"] = format.has_zeros;
  json["quantised_head"] = format.quantised_head;
  return json;
}

StoreFormat format_from(const Node& root) {
  StoreFormat format;
  format.dtype = root.dtype();
  format.layout = root.layout();
  if (is_quantised(format.dtype)) {
    format.group_size = root.group_size();
    format.has_zeros = root.flag("has_zeros");
    format.quantised_head = root.flag("quantised_head");
    if (format.layout != WeightLayout::kTile64)
      root.fail("layout", "is not that of quantised weights");
  }
  // Stores of version 1 have no compute dtype of their own.
  const bool given = format.quantised() || root.has("compute_dtype");
  format.compute_dtype = given ? root.dtype("compute_dtype") : format.dtype;
  const bool fits = format.quantised()
                        ? is_float(format.compute_dtype)
                        : format.compute_dtype == format.dtype && is_float(format.dtype);
  if (!fits)
    root.fail(given ? "compute_dtype" : "dtype", "is not possible for weights of this kind");
  return format;
}

Json segment_json(const Segment& segment) {
  return {{"name", segment.name},
          {"offset", segment.offset},
          {"bytes", segment.bytes},
          {"digest", digest_to_hex(segment.digest)}};
}

Segment segment_from(const Node& node) {
  Segment segment;
  segment.name = node.text("name");
  segment.offset = node.integer("offset");
  segment.bytes = node.integer("bytes");
  segment.digest = node.digest();
  return segment;
}

StoredVector vector_from(const Node& node) {
  StoredVector vector;
  vector.role =
      node.known("role", from_name(node.text("role"), VectorRole::kHeadBias, vector_role_name));
  vector.layer = node.layer();
  vector.size = node.integer("size");
  vector.offset = node.integer("offset");
  return vector;
}

}  // namespace

std::string_view layout_name(WeightLayout layout) {
  return layout == WeightLayout::kTile64 ? "tile64" : "rows";
}

Json manifest_to_json(const Manifest& manifest) {
  Json vectors = segment_json(manifest.contents.vectors_segment);
  vectors["vectors"] = Json::array();
  for (const StoredVector& vector : manifest.contents.vectors) {
    Json json = layer_json(vector.layer);
    json["role"] = vector_role_name(vector.role);
    json["size"] = vector.size;
    json["offset"] = vector.offset;
    vectors["vectors"].push_back(std::move(json));
  }
  Json segments = Json::array();
  for (const Segment& segment : manifest.contents.segments) {
    Json json = segment_json(segment);
    json["matrices"] = Json::array();
    for (const StoredMatrix& matrix : segment.matrices) {
      json["matrices"].push_back(matrix_json(matrix));
    }
    segments.push_back(std::move(json));
  }
  Json json = format_json(manifest.format);
  json["format"] = kFormatName;
  json["version"] = kStoreVersion;
  json["fingerprint"] = manifest.fingerprint;
  json["weights_bytes"] = manifest.contents.file_bytes;
  json["vectors_segment"] = std::move(vectors);
  json["segments"] = std::move(segments);
  return json;
}

Manifest manifest_from_json(const Json& json, const std::string& source) {
  const Node root{json, source};
  if (root.text("format") != kFormatName) root.fail("format", "is not that of a packed store");
  const int64_t version = root.integer("version");
  if (version < kOldestStoreVersion || version > kStoreVersion) {
    root.fail("version", "is " + std::to_string(version) + ", this program reads versions " +
                             std::to_string(kOldestStoreVersion) + " to " +
                             std::to_string(kStoreVersion) + "; pack the checkpoint again");
  }
  Manifest manifest;
  manifest.fingerprint = root.text("fingerprint");
  manifest.format = format_from(root);
  SegmentLayout& contents = manifest.contents;
  contents.file_bytes = root.integer("weights_bytes");
  const Node vectors{root.at("vectors_segment"), source + ": vectors_segment"};
  contents.vectors_segment = segment_from(vectors);
  vectors.each("vectors", [&](const Node& node) { contents.vectors.push_back(vector_from(node)); });
  root.each("segments", [&](const Node& node) {
    Segment segment = segment_from(node);
    node.each("matrices", [&](const Node& item) { segment.matrices.push_back(matrix_from(item)); });
    contents.segments.push_back(std::move(segment));
  });
  return manifest;
}

}  // namespace zerostream
