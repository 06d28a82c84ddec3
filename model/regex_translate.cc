#include <fmt/format.h>

#include <array>
#include <cctype>
#include <utility>
#include <vector>

#include "model/regex.h"
#include "model/unicode_recent.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr std::string_view kSpaces =
    "\\t-\\r\\x20\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}"
    "\\x{3000}";

constexpr size_t kMostBytes = size_t{1} << 20;

constexpr std::array<std::pair<std::string_view, std::string_view>, 7> kLongCategories = {{
    {"Letter", "L"},
    {"Mark", "M"},
    {"Number", "N"},
    {"Punctuation", "P"},
    {"Symbol", "S"},
    {"Separator", "Z"},
    {"Other", "C"},
}};

constexpr std::array<std::string_view, 4> kPlainProperties = {"Alphabetic", "Any", "Lowercase",
                                                              "Uppercase"};

std::string digits() { return "\\p{Nd}" + recent_code_points("Nd"); }

// Oniguruma counts a few numbers of Latin-1 too.
std::string word_characters() {
  return "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}" +
         recent_code_points("L") + recent_code_points("M") + recent_code_points("Nd");
}

bool is_category(std::string_view name) {
  if (name.empty() || name.size() > 2) return false;
  return std::string_view("CLMNPSZ").find(name[0]) != std::string_view::npos &&
         (name.size() == 1 || std::islower(static_cast<unsigned char>(name[1])));
}

// Class members of a property.
std::string property(std::string_view name) {
  for (const auto& [long_name, category] : kLongCategories) {
    if (name == long_name) name = category;
  }
  const std::string plain = "\\p{" + std::string(name) + "}";
  if (is_category(name)) return plain + recent_code_points(name);
  for (const std::string_view known : kPlainProperties) {
    if (name == known) return plain;
  }
  std::string script = "\\p{sc:" + std::string(name) + "}";
  if (name == "Han") script += "\\x{2B739}\\x{2EBF0}-\\x{2EE5D}\\x{31350}-\\x{323AF}";
  return script;
}

class Translator {
 public:
  Translator(std::string_view pattern, const std::string& where)
      : pattern_(pattern), where_(where) {}

  std::string run() {
    while (!at_end()) {
      check_size();
      const char c = pattern_[position_];
      if (c == '\\') {
        escape(false);
      } else if (c == '[') {
        character_class();
      } else if (c == '(') {
        group();
      } else if (c == ')') {
        end_group();
      } else if (c == '{') {
        interval();
      } else if (c == '*' || c == '+') {
        repeat();
      } else {
        copy(1);
      }
    }
    return std::move(out_);
  }

 private:
  bool at_end() const { return position_ >= pattern_.size(); }
  bool looking_at(std::string_view text) const {
    return pattern_.substr(position_).starts_with(text);
  }

  [[noreturn]] void refuse(const std::string& what) const {
    throw CheckpointError(where_ + ": pattern with " + what +
                          " is not supported: " + std::string(pattern_));
  }

  // Some sets take some thousand bytes each; PCRE2 would refuse so long a pattern in any case.
  void check_size() const {
    if (out_.size() > kMostBytes)
      throw CheckpointError(where_ + ": the pattern is too long, or has too many sets");
  }

  void copy(size_t count) {
    count = std::min(count, pattern_.size() - position_);
    out_ += pattern_.substr(position_, count);
    position_ += count;
  }

  // A set of characters by its class members, negated or not, inside a class or alone.
  void put_set(const std::string& members, bool negated, bool in_class) {
    if (!in_class) {
      out_ += (negated ? "[^" : "[") + members + "]";
    } else if (!negated) {
      out_ += members;
    } else {
      refuse("a negated set inside a class");
    }
  }

  void escape(bool in_class) {
    if (position_ + 1 >= pattern_.size()) refuse("a backslash at its end");
    const char c = pattern_[position_ + 1];
    position_ += 2;
    switch (c) {
      case 's':
        return put_set(std::string(kSpaces), false, in_class);
      case 'S':
        // The only difference to PCRE2's \S is U+180E.
        out_ += in_class ? "\\S\\x{180E}" : "[\\S\\x{180E}]";
        return;
      case 'd':
      case 'D':
        return put_set(digits(), c == 'D', in_class);
      case 'w':
      case 'W':
        return put_set(word_characters(), c == 'W', in_class);
      case 'h':
      case 'H':
        return put_set("0-9a-fA-F", c == 'H', in_class);
      case 'p':
      case 'P':
        return property_escape(c == 'P', in_class);
      case 'b':
        if (!in_class) return word_border(false);
        break;
      case 'B':
        return word_border(true);
      case 'G':
        refuse("the end of the last match");
      default:
        break;
    }
    out_ += {'\\', c};
  }

  void property_escape(bool negated, bool in_class) {
    std::string_view name = pattern_.substr(position_, 1);
    if (name == "{") {
      const size_t end = pattern_.find('}', position_);
      if (end == std::string_view::npos) refuse("an unfinished property");
      name = pattern_.substr(position_ + 1, end - position_ - 1);
      position_ = end + 1;
    } else {
      ++position_;
    }
    if (name.starts_with('^')) {
      negated = !negated;
      name.remove_prefix(1);
    }
    if (negated && in_class && is_category(name)) {
      out_ += "\\P{" + std::string(name) + "}";
    } else {
      put_set(property(name), negated, in_class);
    }
  }

  void word_border(bool negated) {
    constexpr std::string_view kAtBorder = "(?:(?<=[{0}])(?![{0}])|(?<![{0}])(?=[{0}]))";
    constexpr std::string_view kElsewhere = "(?:(?<=[{0}])(?=[{0}])|(?<![{0}])(?![{0}]))";
    const std::string word = word_characters();
    out_ += negated ? fmt::format(kElsewhere, word) : fmt::format(kAtBorder, word);
  }

  void character_class() {
    copy(looking_at("[^") ? 2 : 1);
    if (looking_at("]")) {
      out_ += "\\]";
      ++position_;
    }
    while (!at_end() && pattern_[position_] != ']') {
      check_size();
      if (pattern_[position_] == '\\') {
        escape(true);
      } else if (pattern_[position_] == '[') {
        refuse("a class inside a class");
      } else if (looking_at("&&")) {
        refuse("an intersection of classes");
      } else {
        copy(1);
      }
    }
    if (at_end()) refuse("an unfinished class");
    copy(1);
  }

  // Options in (?imx-imx) and (?imx-imx:...): Ruby's m is PCRE2's s.
  void group() {
    if (looking_at("(?~")) refuse("an absence operator");
    if (looking_at("(*")) refuse("nothing to repeat");
    final_groups_.push_back(in_final_group() || begins_final_group());
    if (!looking_at("(?")) return copy(1);
    copy(2);
    const size_t end = pattern_.find_first_not_of("imx-", position_);
    if (end == std::string_view::npos || (pattern_[end] != ':' && pattern_[end] != ')')) return;
    for (; position_ < end; ++position_) {
      out_.push_back(pattern_[position_] == 'm' ? 's' : pattern_[position_]);
    }
  }

  void end_group() {
    if (!final_groups_.empty()) final_groups_.pop_back();
    copy(1);
  }

  // Whether nothing that the group took is given back: atomic groups, and what looks around.
  bool begins_final_group() const {
    return looking_at("(?>") || looking_at("(?=") || looking_at("(?!") || looking_at("(?<=") ||
           looking_at("(?<!");
  }
  bool in_final_group() const { return !final_groups_.empty() && final_groups_.back(); }

  void repeat() {
    const bool possessive = looking_at("*+") || looking_at("++");
    copy(possessive ? 2 : 1);
    end_repeat(possessive);
  }

  // What a repeat takes and does not give back is one step for PCRE2, however long it is: a callout
  // behind it lets the search count it.
  void end_repeat(bool possessive) {
    if (looking_at("?")) return copy(1);  // lazy: takes step by step
    if (possessive || in_final_group()) out_ += "(?C)";
  }

  // {n,m}: the lower bound may be left out, and a + after it is no possessive mark.
  void interval() {
    const size_t end = pattern_.find_first_not_of("0123456789,", position_ + 1);
    if (end == std::string_view::npos || pattern_[end] != '}' || end == position_ + 1) {
      return copy(1);
    }
    if (looking_at("{,")) {
      out_ += "{0";
      ++position_;
    }
    copy(end + 1 - position_);
    if (looking_at("+")) refuse("a repeated interval");
    end_repeat(false);
  }

  std::string_view pattern_;
  const std::string& where_;
  size_t position_ = 0;
  std::vector<bool> final_groups_;  // of the open groups: is it, or one around it, final
  std::string out_;
};

}  // namespace

std::string translate_regex(std::string_view pattern, const std::string& where) {
  return Translator(pattern, where).run();
}

}  // namespace zerostream
