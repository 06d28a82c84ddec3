#include "model/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <cctype>

#include "base/require.h"
#include "model/utf8.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

template <auto free_function>
struct Freed {
  template <typename T>
  void operator()(T* pointer) const {
    free_function(pointer);
  }
};
using CompileContext = std::unique_ptr<pcre2_compile_context, Freed<pcre2_compile_context_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Freed<pcre2_match_context_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Freed<pcre2_match_data_free>>;

// PCRE2 counts steps back, but only in its interpreter, and not those of repeats that it has made
// possessive: these must not be.
constexpr uint32_t kOptions = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C |
                              PCRE2_USE_OFFSET_LIMIT | PCRE2_NO_AUTO_POSSESS;

constexpr uint32_t kStepsPerPlace = 1024;  // free
constexpr uint32_t kMoreSteps = 8;         // times as many for the next try
constexpr size_t kFreeSteps = 10'000'000;  // of the budget
constexpr size_t kStepsPerByte = 256;
constexpr size_t kFreeHeapKib = 32 * 1024;  // and 1 KiB for each byte of the text
constexpr size_t kWindow = 1024;  // bytes in which the first call looks for a match's begin

std::string error_text(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

std::shared_ptr<const void> compile(const std::string& pattern, const std::string& where) {
  CompileContext context(pcre2_compile_context_create(nullptr));
  require(context != nullptr, "memory for a pattern");
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                   kOptions, &error, &offset, context.get());
  if (code == nullptr) {
    throw CheckpointError(where + ": bad pattern: " + error_text(error) + " at byte " +
                          std::to_string(offset) + " of " + pattern);
  }
  return {code, [code](const void*) { pcre2_code_free(code); }};
}

// One search through one text. Costs no more than the text's length allows: from every place a few
// steps are free, more are taken from a budget for all of the text. Stays where it was made.
class Search {
 public:
  Search(const void* code, std::string_view text)
      : code_(static_cast<const pcre2_code*>(code)),
        text_(text),
        budget_(kFreeSteps + kStepsPerByte * text.size()),
        context_(pcre2_match_context_create(nullptr)),
        data_(pcre2_match_data_create(1, nullptr)) {
    require(context_ != nullptr && data_ != nullptr, "memory for a match");
    const size_t heap_kib = kFreeHeapKib + text.size();
    pcre2_set_heap_limit(context_.get(),
                         static_cast<uint32_t>(std::min<size_t>(heap_kib, UINT32_MAX)));
    pcre2_set_callout(context_.get(), &Search::charge, this);
  }

  // The first match at or after `start`; false if there is none.
  bool next(size_t start, Regex::Match& match) {
    for (size_t window = kWindow; start <= text_.size(); window *= 2) {
      size_t end = std::min(start + window, text_.size());
      int result = run(start, end, kStepsPerPlace);
      if (result == PCRE2_ERROR_MATCHLIMIT) {
        window = kWindow;
        end = std::min(start + window, text_.size());
        result = run_place_by_place(start, end);
      }
      if (result != PCRE2_ERROR_NOMATCH) {
        const PCRE2_SIZE* range = pcre2_get_ovector_pointer(data_.get());
        match = {range[0], range[1]};
        return true;
      }
      start = after(end);
    }
    return false;
  }

 private:
  // Where the first character begins behind `place`.
  size_t after(size_t place) const {
    ++place;
    while (place < text_.size() && (static_cast<uint8_t>(text_[place]) & 0xC0) == 0x80) ++place;
    return place;
  }

  int run_place_by_place(size_t first, size_t last) {
    for (size_t place = first; place <= last; place = after(place)) {
      uint32_t steps = kStepsPerPlace;
      int result = run(place, place, steps);
      while (result == PCRE2_ERROR_MATCHLIMIT) {
        steps *= kMoreSteps;
        if (steps > budget_) fail(place, result);
        budget_ -= steps;
        result = run(place, place, steps);
      }
      if (result != PCRE2_ERROR_NOMATCH) return result;
    }
    return PCRE2_ERROR_NOMATCH;
  }

  // Looks for a match that begins at one of these places; MATCHLIMIT: it takes more than `steps`
  // from one of them.
  int run(size_t first, size_t last, uint32_t steps) {
    pcre2_set_match_limit(context_.get(), steps);
    pcre2_set_offset_limit(context_.get(), last);
    const int result = pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(text_.data()), text_.size(),
                                   first, PCRE2_NO_UTF_CHECK, data_.get(), context_.get());
    if (result == PCRE2_ERROR_CALLOUT) fail(first, PCRE2_ERROR_MATCHLIMIT);
    if (result < 0 && result != PCRE2_ERROR_NOMATCH && result != PCRE2_ERROR_MATCHLIMIT)
      fail(first, result);
    return result;
  }

  // Takes from the budget what a repeat took in one step, see translate_regex().
  static int charge(pcre2_callout_block* callout, void* self) {
    size_t& budget = static_cast<Search*>(self)->budget_;
    const size_t place = callout->current_position;
    const size_t taken = place - std::min(place, callout->start_match);
    if (taken > budget) return PCRE2_ERROR_CALLOUT;
    budget -= taken;
    return 0;
  }

  [[noreturn]] static void fail(size_t place, int error) {
    throw UsageError("the tokenizer's pattern does not get through the text at byte " +
                     std::to_string(place) + ": " + error_text(error));
  }

  const pcre2_code* code_;
  std::string_view text_;
  size_t budget_;
  MatchContext context_;
  MatchData data_;
};

}  // namespace

Regex::Regex(std::string_view pattern, const std::string& where)
    : code_(compile(translate_regex(pattern, where), where)) {}

Regex Regex::literal(std::string_view text) {
  std::string pattern;
  for (const char c : text) {
    if (std::ispunct(static_cast<unsigned char>(c))) pattern.push_back('\\');
    pattern.push_back(c);
  }
  return Regex(pattern, "literal pattern");
}

std::vector<Regex::Match> Regex::find_all(std::string_view text) const {
  std::vector<Match> matches;
  Search search(code_.get(), text);
  size_t start = 0;
  Match match;
  while (start <= text.size() && search.next(start, match)) {
    const bool repeated =
        match.begin == match.end && !matches.empty() && matches.back().end == match.end;
    if (!repeated) {
      matches.push_back(match);
      start = match.end;
    } else {
      start += start < text.size() ? utf8_at(text, start).bytes : 1;
    }
  }
  return matches;
}

}  // namespace zerostream
