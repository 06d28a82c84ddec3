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

// From one place of the text; real patterns take a few steps for each byte.
constexpr uint32_t kMinMatchSteps = 200'000;
constexpr size_t kMatchStepsPerByte = 64;
constexpr uint32_t kMatchHeapKib = 32 * 1024;  // and 1 KiB for each byte of the text

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
  pcre2_code* code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error,
                    &offset, context.get());
  if (code == nullptr) {
    throw CheckpointError(where + ": bad pattern: " + error_text(error) + " at byte " +
                          std::to_string(offset) + " of " + pattern);
  }
  std::shared_ptr<const void> owner(code, [code](const void*) { pcre2_code_free(code); });
  // Where there is no JIT compiler the interpreter gives the same matches.
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  return owner;
}

// One search through one text.
class Search {
 public:
  Search(const void* code, std::string_view text)
      : code_(static_cast<const pcre2_code*>(code)),
        text_(text),
        context_(pcre2_match_context_create(nullptr)),
        data_(pcre2_match_data_create(1, nullptr)) {
    require(context_ != nullptr && data_ != nullptr, "memory for a match");
    const size_t steps = std::min<size_t>(text.size() * kMatchStepsPerByte, UINT32_MAX);
    pcre2_set_match_limit(context_.get(), std::max(kMinMatchSteps, static_cast<uint32_t>(steps)));
    pcre2_set_heap_limit(context_.get(), kMatchHeapKib + static_cast<uint32_t>(std::min<size_t>(
                                                             text.size(), INT32_MAX)));
  }

  // The first match at or after `start`; false if there is none.
  bool next(size_t start, Regex::Match& match) {
    int result = run(start, 0);
    // The compiled code has a small stack; the interpreter takes memory as it needs.
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = run(start, PCRE2_NO_JIT);
    if (result == PCRE2_ERROR_NOMATCH) return false;
    if (result < 0) {
      throw UsageError("the tokenizer's pattern does not get through the text at byte " +
                       std::to_string(start) + ": " + error_text(result));
    }
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(data_.get());
    match = {range[0], range[1]};
    return true;
  }

 private:
  int run(size_t start, uint32_t options) {
    return pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(text_.data()), text_.size(), start,
                       PCRE2_NO_UTF_CHECK | options, data_.get(), context_.get());
  }

  const pcre2_code* code_;
  std::string_view text_;
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
