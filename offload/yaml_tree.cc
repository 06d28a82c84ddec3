#include "offload/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <unordered_set>

#include "model/utf8.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr size_t kMostBytes = size_t{1} << 20;

template <typename T>
std::optional<T> whole_number(const std::string& text) {
  T number{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  return error == std::errc() && stop == end ? std::optional<T>(number) : std::nullopt;
}

// A plain scalar by YAML's core schema, decimal numbers only.
Json plain_scalar(const std::string& text) {
  if (text.empty() || text == "~" || text == "null") return nullptr;
  if (text == "true" || text == "false") return text == "true";
  if (const auto number = whole_number<int64_t>(text)) return *number;
  if (const auto number = whole_number<uint64_t>(text)) return *number;
  const bool numeric = text.find_first_not_of("+-.0123456789eE") == std::string::npos;
  if (const auto number = whole_number<double>(text); number && numeric) return *number;
  return text;
}

// Builds a YamlNode from the parser's events; refuses what our files do not use.
class TreeBuilder : public YAML::EventHandler {
 public:
  explicit TreeBuilder(std::string source) : source_(std::move(source)) {}
  const YamlNode& root() const { return root_; }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse(anchor != 0, mark, "anchors are not supported");
    add(mark, nullptr);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    refuse(true, mark, "aliases are not supported");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    check(mark, tag, anchor);
    if (expects_key()) {
      add_key(mark, value);
    } else {
      add(mark, tag == "!" ? Json(value) : plain_scalar(value));
    }
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    check(mark, tag, anchor);
    open(mark)->is_sequence = true;
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    check(mark, tag, anchor);
    open(mark)->is_map = true;
  }
  void OnMapEnd() override { close(); }

  std::string place(const YAML::Mark& mark) const {
    return source_ + ":" + std::to_string(mark.line + 1);
  }

 private:
  bool expects_key() const {
    return !open_.empty() && open_.back()->is_map &&
           open_.back()->keys.size() == open_.back()->items.size();
  }
  void add_key(const YAML::Mark& mark, const std::string& name) {
    if (!keys_.back().insert(name).second)
      throw UsageError(place(mark) + ": key \"" + name + "\" is given twice");
    open_.back()->keys.push_back(name);
  }
  YamlNode* add(const YAML::Mark& mark, Json scalar) {
    refuse(expects_key(), mark, "keys must be names");
    YamlNode* node = &root_;
    if (!open_.empty()) node = &open_.back()->items.emplace_back();
    node->line = mark.line + 1;
    node->scalar = std::move(scalar);
    return node;
  }
  YamlNode* open(const YAML::Mark& mark) {
    keys_.emplace_back();
    return open_.emplace_back(add(mark, nullptr));
  }
  void close() {
    keys_.pop_back();
    open_.pop_back();
  }
  void check(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) const {
    refuse(anchor != 0, mark, "anchors are not supported");
    refuse(!tag.empty() && tag != "?" && tag != "!", mark, "tags are not supported");
  }
  void refuse(bool wrong, const YAML::Mark& mark, const char* why) const {
    if (wrong) throw UsageError(place(mark) + ": " + why);
  }

  std::string source_;
  YamlNode root_;
  std::vector<YamlNode*> open_;  // from the root to the innermost; parents do not grow meanwhile
  std::vector<std::unordered_set<std::string>> keys_;  // of those so far
};

}  // namespace

Json YamlNode::json() const {
  if (!is_map && !is_sequence) return scalar;
  Json json = is_map ? Json::object() : Json::array();
  for (size_t i = 0; i < items.size(); ++i)
    is_map ? void(json[keys[i]] = items[i].json()) : json.push_back(items[i].json());
  return json;
}

YamlNode parse_yaml(const std::string& text, const std::string& source) {
  if (text.size() > kMostBytes) throw UsageError(source + " has more than 1 MiB");
  if (const size_t at = find_invalid_utf8(text); at != std::string::npos)
    throw UsageError(source + " is not UTF-8 at byte " + std::to_string(at));
  TreeBuilder builder(source);
  std::istringstream stream(text);
  try {
    YAML::Parser parser(stream);
    parser.HandleNextDocument(builder);
    TreeBuilder rest(source);
    if (parser.HandleNextDocument(rest))
      throw UsageError(source + ": holds more than one YAML document");
  } catch (const YAML::Exception& error) {
    throw UsageError(builder.place(error.mark) + ": " + error.msg);
  }
  return builder.root();
}

YamlNode read_yaml(const std::string& path, const std::string& what) {
  std::ifstream stream(path, std::ios::binary);
  const int error = std::filesystem::is_directory(path) ? EISDIR : stream.good() ? 0 : errno;
  if (error != 0) throw UsageError(path + ": " + what + " cannot be read: " + std::strerror(error));
  std::string text(kMostBytes + 1, '\0');
  stream.read(text.data(), std::ssize(text));
  text.resize(static_cast<size_t>(stream.gcount()));
  return parse_yaml(text, path);
}

}  // namespace zerostream
