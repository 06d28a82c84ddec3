#include "model/json.h"

#include <utility>
#include <vector>

#include "model/input_file.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

// Builds the value as the parser goes, so that duplicate keys and depth are seen where they occur.
class JsonBuilder : public nlohmann::json_sax<Json> {
 public:
  JsonBuilder(const std::string& source, JsonLimits limits) : source_(source), limits_(limits) {}

  Json take() { return std::move(root_); }

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(value); }
  bool number_unsigned(number_unsigned_t value) override { return put(value); }
  bool number_float(number_float_t value, const string_t&) override { return put(value); }
  bool string(string_t& value) override { return put(std::move(value)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return open(Json::object()); }
  bool start_array(size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    const auto [entry, fresh] = open_.back()->emplace(name, nullptr);
    if (!fresh)
      throw CheckpointError(source_ + ": key \"" + name + "\" appears twice in an object");
    member_ = &entry.value();
    return true;
  }

  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    std::string message = error.what();
    message.erase(0, message.find("] ") + 2);
    throw CheckpointError(source_ + ": invalid JSON at byte " + std::to_string(position) + ": " +
                          message);
  }

 private:
  Json* place(Json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    if (open_.back()->is_array()) return &open_.back()->emplace_back(std::move(value));
    *member_ = std::move(value);
    return member_;
  }

  bool put(Json value) {
    place(std::move(value));
    return true;
  }

  bool open(Json container) {
    if (static_cast<int>(open_.size()) >= limits_.max_depth)
      throw CheckpointError(source_ + ": nested deeper than " + std::to_string(limits_.max_depth) +
                            " levels");
    open_.push_back(place(std::move(container)));
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  const std::string& source_;
  JsonLimits limits_;
  Json root_;
  std::vector<Json*> open_;  // containers not closed yet; they do not move while they are open
  Json* member_ = nullptr;   // where the value of the last key goes
};

}  // namespace

Json parse_json(std::string_view text, const std::string& source, JsonLimits limits) {
  // The library takes a NUL for the end of the text.
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos)
    throw CheckpointError(source + ": invalid JSON at byte " + std::to_string(nul + 1) + ": NUL");
  JsonBuilder builder(source, limits);
  Json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

Json read_json_file(const std::string& path, JsonLimits limits) {
  const InputFile file(path);
  const std::string text = file.read_all();
  if (text.starts_with(kGitLfsMagic))
    throw CheckpointError(
        path + " is a Git LFS pointer, not the file itself: fetch it with `git lfs pull`");
  return parse_json(text, path, limits);
}

}  // namespace zerostream
