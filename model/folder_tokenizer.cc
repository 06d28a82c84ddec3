#include "model/folder_tokenizer.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <iterator>
#include <map>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "model/input_file.h"
#include "model/tokenizer_json.h"
#include "model/tokenizer_parts.h"
#include "model/utf8.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int32_t kMostExtraIds = 10000;  // T5 has 100
constexpr std::array<const char*, 2> kSentencepieceFiles = {"tokenizer.model", "spiece.model"};
constexpr std::array<const char*, 7> kNamedTokens = {
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

enum class Family { kPlain, kGpt2, kQwen2, kRoberta, kBert, kLlama, kGemma, kT5 };

// What transformers has in code for a class of tokenizers: its named tokens, in the order above.
struct TokenizerClass {
  std::string_view name;  // without "Tokenizer", "TokenizerFast"
  Family family;
  std::array<std::string_view, kNamedTokens.size()> tokens;
};

constexpr TokenizerClass kClasses[] = {
    {"GPT2", Family::kGpt2, {"<|endoftext|>", "<|endoftext|>", "<|endoftext|>"}},
    {"Qwen2", Family::kQwen2, {"", "<|endoftext|>", "<|endoftext|>", "", "<|endoftext|>"}},
    {"Roberta", Family::kRoberta, {"<s>", "</s>", "<unk>", "</s>", "<pad>", "<s>", "<mask>"}},
    {"Bert", Family::kBert, {"", "", "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"}},
    {"Llama", Family::kLlama, {"<s>", "</s>", "<unk>"}},
    {"Gemma", Family::kGemma, {"<bos>", "<eos>", "<unk>", "", "<pad>", "", "<mask>"}},
    {"T5", Family::kT5, {"", "</s>", "<unk>", "", "<pad>"}},
    {"", Family::kPlain, {}},
};

constexpr std::pair<std::string_view, std::string_view> kClassOfModelType[] = {
    {"bert", "Bert"},       {"gemma", "Gemma"},     {"gemma2", "Gemma"}, {"gemma3_text", "Gemma"},
    {"gpt2", "GPT2"},       {"opt", "GPT2"},        {"phi", "GPT2"},     {"qwen2", "Qwen2"},
    {"roberta", "Roberta"}, {"starcoder2", "GPT2"}, {"t5", "T5"},
};

const TokenizerClass& find_class(std::string_view name) {
  for (const TokenizerClass& known : kClasses) {
    if (known.name == name) return known;
  }
  return *std::prev(std::end(kClasses));
}

class FolderTokenizer {
 public:
  explicit FolderTokenizer(const std::string& folder)
      : folder_(folder),
        config_(read_object("tokenizer_config.json")),
        special_map_(read_object("special_tokens_map.json")),
        class_(&find_class(class_name())) {}

  Json make() {
    Json tokenizer;
    for (const char* file : kSentencepieceFiles) {
      if (tokenizer.is_null() && has(file)) tokenizer = from_sentencepiece(file);
    }
    if (tokenizer.is_null() && has("vocab.json") && has("merges.txt")) tokenizer = from_merges();
    if (tokenizer.is_null() && has("vocab.txt")) tokenizer = from_words();
    if (tokenizer.is_null()) return tokenizer;
    add_tokens(tokenizer);
    add_post_processor(tokenizer);
    return tokenizer;
  }

 private:
  std::string path(const std::string& file) const { return folder_ + "/" + file; }
  bool has(const std::string& file) const { return file_exists(path(file)); }
  std::string text_of(const std::string& file) const { return InputFile(path(file)).read_all(); }

  std::vector<std::string> lines_of(const std::string& file) const {
    const std::string text = text_of(file);
    if (find_invalid_utf8(text) != std::string::npos)
      throw CheckpointError(path(file) + ": is not UTF-8");
    std::vector<std::string> lines;
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      lines.push_back(text.substr(begin, end - begin));
      if (lines.back().ends_with('\r')) lines.back().pop_back();
      begin = end + 1;
    }
    return lines;
  }

  Json read_object(const std::string& file) const {
    if (!has(file)) return Json::object();
    Json content = read_json_file(path(file));
    if (!content.is_object()) throw CheckpointError(path(file) + ": not a JSON object");
    return content;
  }

  JsonPart config() const { return {config_, path("tokenizer_config.json") + ": "}; }

  std::string class_name() const {
    std::string name = config().text("tokenizer_class", "");
    if (const size_t end = name.rfind("Tokenizer"); end != std::string::npos) name.resize(end);
    if (!name.empty()) return name;
    const Json model = read_object("config.json");
    const std::string type = JsonPart(model, path("config.json") + ": ").text("model_type", "");
    for (const auto& [model_type, known] : kClassOfModelType) {
      if (model_type == type) return std::string(known);
    }
    return {};
  }

  Json from_sentencepiece(const std::string& file) {
    model_ = read_spm_model(text_of(file), path(file));
    SpmUse use;
    if (class_->family == Family::kLlama) {
      use.style = SpmUse::Style::kLlama;
      use.prepend_scheme = config().boolean("legacy", false) ? "always" : "first";
      if (!config().boolean("add_prefix_space", true)) use.prepend_scheme = "never";
    }
    if (class_->family == Family::kGemma) use.style = SpmUse::Style::kGemma;
    if (class_->family == Family::kT5) use.style = SpmUse::Style::kT5;
    return spm_tokenizer_json(*model_, use, path(file));
  }

  Json from_merges() {
    const bool qwen = class_->family == Family::kQwen2;
    const bool prefix = config().boolean("add_prefix_space", false);
    Json model = bpe_part();
    model["vocab"] = read_json_file(path("vocab.json"));
    if (!model["vocab"].is_object())
      throw CheckpointError(path("vocab.json") + ": not a JSON object");
    Json merges = Json::array();
    for (const std::string& line : lines_of("merges.txt")) {
      if (!line.empty()) merges.push_back(line);
    }
    model["merges"] = std::move(merges);
    const Json split =
        qwen ? sequence_part("pretokenizers", Json::array({split_part(kQwen2Pattern),
                                                           byte_level_part(false, prefix)}))
             : byte_level_part(true, prefix);
    return {{"version", "1.0"},
            {"added_tokens", Json::array()},
            {"normalizer", qwen ? Json{{"type", "NFC"}} : Json()},
            {"pre_tokenizer", split},
            {"decoder", byte_level_part(true)},
            {"model", std::move(model)}};
  }

  Json from_words() {
    Json vocab = Json::object();
    size_t id = 0;
    for (const std::string& line : lines_of("vocab.txt")) vocab[line] = id++;
    const Json accents = config_.value("strip_accents", Json());
    return {{"version", "1.0"},
            {"added_tokens", Json::array()},
            {"normalizer",
             {{"type", "BertNormalizer"},
              {"clean_text", true},
              {"handle_chinese_chars", config().boolean("tokenize_chinese_chars", true)},
              {"strip_accents", accents},
              {"lowercase", config().boolean("do_lower_case", true)}}},
            {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
            {"decoder", {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}}},
            {"model",
             {{"type", "WordPiece"},
              {"unk_token", named("unk_token").value_or("[UNK]")},
              {"continuing_subword_prefix", "##"},
              {"max_input_chars_per_word", 100},
              {"vocab", std::move(vocab)}}}};
  }

  // The value of a key in the first file that has it, with its place.
  JsonPart setting(const std::string& key) const {
    if (config_.contains(key)) return config().member(key);
    return JsonPart(special_map_, path("special_tokens_map.json") + ": ").member(key);
  }

  // A token by its role; none if the model has no such token.
  std::optional<std::string> named(const std::string& key) const {
    const JsonPart token = setting(key);
    if (token.value().is_object()) return token.member("content").text();
    if (!token.is_null()) return token.text();
    if (config_.contains(key)) return std::nullopt;
    for (size_t i = 0; i < kNamedTokens.size(); ++i) {
      const std::string_view known = class_->tokens[i];
      if (kNamedTokens[i] == key && !known.empty()) return std::string(known);
    }
    return named_by_model(key);
  }

  std::optional<std::string> named_by_model(const std::string& key) const {
    if (!model_ || class_->family != Family::kPlain) return std::nullopt;
    const int32_t id = key == "bos_token"   ? model_->bos_id
                       : key == "eos_token" ? model_->eos_id
                                            : -1;
    if (id < 0 || static_cast<size_t>(id) >= model_->pieces.size()) return std::nullopt;
    return model_->pieces[static_cast<size_t>(id)].text;
  }

  static Json added_token(const JsonPart& token, bool special, bool normalized) {
    if (!token.value().is_object()) {
      Json plain = added_token_part(0, token.text(), special);
      plain["normalized"] = normalized;
      return plain;
    }
    special = token.boolean("special", special);
    Json part = added_token_part(0, token.member("content").text(), special);
    for (const char* key : {"single_word", "lstrip", "rstrip"})
      part[key] = token.boolean(key, false);
    part["normalized"] = token.boolean("normalized", !special);
    return part;
  }

  // Of entries for one token the last one counts.
  void add_tokens(Json& tokenizer) const {
    Json& added = tokenizer["added_tokens"];
    std::unordered_map<std::string, size_t> listed;  // where it stands among the added ones
    for (const auto& [id, token] : listed_tokens()) {
      listed.emplace(token["content"], added.size());
      added.push_back(token);
    }
    const auto add_special = [&](const Json& token) {
      const auto found = listed.find(token["content"]);
      if (found == listed.end()) return added.push_back(token);
      added[found->second]["special"] = true;
    };
    for (const char* key : kNamedTokens) {
      const JsonPart part = setting(key);
      if (part.value().is_object()) {
        add_special(added_token(part, true, false));
      } else if (const auto token = named(key)) {
        add_special(added_token_part(0, *token, true));
      }
    }
    for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
      const JsonPart list = setting(key);
      if (!list.value().is_array()) continue;
      for (const JsonPart& token : list.items()) add_special(added_token(token, true, false));
    }
    if (class_->family == Family::kT5) {
      const JsonPart count = config().member("extra_ids");
      const int32_t extra = count.is_null() ? 100 : count.id();
      if (extra > kMostExtraIds) count.fail("is too large");
      for (int32_t i = extra; i-- > 0;) {
        add_special(added_token_part(0, "<extra_id_" + std::to_string(i) + ">", true));
      }
    }
  }

  // Tokens with ids of their own: "added_tokens_decoder", or the older added_tokens.json.
  std::map<int64_t, Json> listed_tokens() const {
    std::map<int64_t, Json> listed;
    const JsonPart decoder = config().member("added_tokens_decoder");
    if (!decoder.is_null()) {
      if (!decoder.value().is_object()) decoder.fail("must be an object of tokens");
      for (const auto& [id, token] : decoder.value().items()) {
        const JsonPart place(token, decoder.where() + "." + id);
        listed.emplace(std::strtoll(id.c_str(), nullptr, 10), added_token(place, false, true));
      }
      return listed;
    }
    const Json file = read_object("added_tokens.json");
    for (const auto& [token, id] : file.items()) {
      const int32_t number = JsonPart(id, path("added_tokens.json") + ": \"" + token + "\"").id();
      Json part = added_token_part(0, token, false);
      part["normalized"] = true;
      listed.emplace(number, std::move(part));
    }
    return listed;
  }

  TemplateToken template_token(const char* key, const Json& tokenizer) const {
    const std::optional<std::string> content = named(key);
    if (!content) throw CheckpointError(path("tokenizer_config.json") + ": " + key + " is missing");
    return {*content, id_of(*content, tokenizer)};
  }

  // The id that a token has, or gets when it is added.
  int32_t id_of(const std::string& content, const Json& tokenizer) const {
    const Json& vocab = tokenizer["model"]["vocab"];
    std::unordered_map<std::string, int32_t> ids;
    if (vocab.is_array()) {
      for (size_t id = 0; id < vocab.size(); ++id)
        ids.emplace(vocab[id][0], static_cast<int32_t>(id));
    } else {
      for (const auto& [token, id] : vocab.items())
        ids.emplace(token, JsonPart(id, path("vocab.json") + ": \"" + token + "\"").id());
    }
    if (const auto found = ids.find(content); found != ids.end()) return found->second;
    auto next = static_cast<int32_t>(vocab.size());
    for (const Json& token : tokenizer["added_tokens"]) {
      if (token["content"] == content) return next;
      if (!ids.contains(token["content"])) ++next;
    }
    throw CheckpointError(folder_ + ": token \"" + content + "\" is not in the vocabulary");
  }

  void add_post_processor(Json& tokenizer) const {
    std::vector<TemplateToken> before, after;
    const bool first_last = class_->family == Family::kBert || class_->family == Family::kRoberta;
    if (first_last) before.push_back(template_token("cls_token", tokenizer));
    if (first_last) after.push_back(template_token("sep_token", tokenizer));
    if (class_->family == Family::kT5) after.push_back(template_token("eos_token", tokenizer));
    if (before.empty() && after.empty()) {
      const bool bos = config().boolean("add_bos_token", false) && named("bos_token");
      const bool eos = config().boolean("add_eos_token", false) && named("eos_token");
      if (bos) before.push_back(template_token("bos_token", tokenizer));
      if (eos) after.push_back(template_token("eos_token", tokenizer));
    }
    tokenizer["post_processor"] = template_part(before, after);
  }

  const std::string& folder_;
  Json config_, special_map_;
  const TokenizerClass* class_;
  std::optional<SpmModel> model_;
};

}  // namespace

Json folder_tokenizer_json(const std::string& folder) {
  const std::string whole = folder + "/tokenizer.json";
  return file_exists(whole) ? read_json_file(whole) : FolderTokenizer(folder).make();
}

}  // namespace zerostream
