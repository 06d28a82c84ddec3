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
    if (!json.is_object() || !json.contains(key)) fail(key, "is missing");
    return json.at(key);
  }
  int64_t integer(const char* key) const {
    const Json& value = at(key);
    if (!value.is_number_unsigned() || value.get<uint64_t>() > INT64_MAX) {
      fail(key, "is no whole number");
    }
    return value.get<int64_t>();
  }
  int32_t layer() const {
    if (!json.is_object() || !json.contains("layer")) return kNoLayer;
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
  DType dtype() const { return known("dtype", dtype_from_name(text("dtype"))); }
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
  if (!node.at("gated").is_boolean()) node.fail("gated", "is neither true nor false");
  matrix.gated = node.at("gated").get<bool>();
  matrix.dtype = node.dtype();
  matrix.layout = node.layout();
  matrix.inputs = node.integer("inputs");
  matrix.output_begin = node.integer("output_begin");
  matrix.outputs = node.integer("outputs");
  matrix.offset = node.integer("offset");
  return matrix;
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
  return {{"format", kFormatName},
          {"version", kStoreVersion},
          {"fingerprint", manifest.fingerprint},
          {"dtype", dtype_name(manifest.dtype)},
          {"layout", layout_name(manifest.layout)},
          {"weights_bytes", manifest.contents.file_bytes},
          {"vectors_segment", std::move(vectors)},
          {"segments", std::move(segments)}};
}

Manifest manifest_from_json(const Json& json, const std::string& source) {
  const Node root{json, source};
  if (root.text("format") != kFormatName) root.fail("format", "is not that of a packed store");
  if (root.integer("version") != kStoreVersion) {
    root.fail("version", "is " + root.at("version").dump() + ", this program reads version " +
                             std::to_string(kStoreVersion) + "; pack the checkpoint again");
  }
  Manifest manifest;
  manifest.fingerprint = root.text("fingerprint");
  manifest.dtype = root.dtype();
  manifest.layout = root.layout();
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
