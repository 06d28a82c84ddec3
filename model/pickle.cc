#include "model/pickle.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <unordered_map>
#include <utility>

#include "model/utf8.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr size_t kMaxValues = size_t{1} << 22;
constexpr std::string_view kOrderedDict = "collections.OrderedDict";

using Kind = PickleValue::Kind;

// The codes of the operations that are known.
enum Op : uint8_t {
  kMark = '(',
  kStop = '.',
  kNoneOp = 'N',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kBinFloat = 'G',
  kBinUnicode = 'X',
  kAppend = 'a',
  kAppends = 'e',
  kBuild = 'b',
  kGlobalOp = 'c',
  kEmptyDict = '}',
  kEmptyList = ']',
  kEmptyTuple = ')',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kBinPersonId = 'Q',
  kReduce = 'R',
  kSetItem = 's',
  kSetItems = 'u',
  kTuple = 't',
  kProto = 0x80,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8a,
  kShortBinUnicode = 0x8c,
  kBinUnicode8 = 0x8d,
  kStackGlobal = 0x93,
  kMemoize = 0x94,
  kFrame = 0x95,
};

// The stack machine that a pickle is a program for.
class Machine {
 public:
  Machine(std::string_view bytes, std::span<const std::string_view> allowed,
          const std::string& source)
      : bytes_(bytes), allowed_(allowed), source_(source) {}

  Pickle run() {
    if (bytes_.empty() || static_cast<uint8_t>(bytes_[0]) != kProto)
      fail("it does not begin as one of protocol 2 or later does");
    while (true) {
      const auto op = scalar<uint8_t>();
      if (op == kStop) break;
      run(op);
    }
    pickle_.root = pop();
    return std::move(pickle_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw CheckpointError(source_ + ": pickle: " + what + ", at byte " + std::to_string(position_));
  }

  void run(uint8_t op) {
    switch (op) {
      case kProto:
        if (const auto version = scalar<uint8_t>(); version < 2 || version > 5)
          fail("protocol " + std::to_string(version) + " is not supported");
        return;
      case kFrame:
        take(sizeof(uint64_t));
        return;
      case kMark:
        marks_.push_back(stack_.size());
        return;
      case kNoneOp:
        return push({.kind = Kind::kNone});
      case kNewTrue:
      case kNewFalse:
        return push({.kind = Kind::kBool, .integer = op == kNewTrue});
      case kBinInt:
        return push_integer(scalar<int32_t>());
      case kBinInt1:
        return push_integer(scalar<uint8_t>());
      case kBinInt2:
        return push_integer(scalar<uint16_t>());
      case kLong1:
        return push_integer(read_long());
      case kBinFloat:
        take(sizeof(double));
        return push({.kind = Kind::kFloat});
      case kBinUnicode:
        return push_text(scalar<uint32_t>());
      case kShortBinUnicode:
        return push_text(scalar<uint8_t>());
      case kBinUnicode8:
        return push_text(scalar<uint64_t>());
      default:
        return run_on_objects(op);
    }
  }

  void run_on_objects(uint8_t op) {
    switch (op) {
      case kEmptyDict:
        return push({.kind = Kind::kDict});
      case kEmptyList:
        return push({.kind = Kind::kList});
      case kEmptyTuple:
        return push({.kind = Kind::kTuple});
      case kTuple:
        return push_tuple(pop_to_mark());
      case kTuple1:
      case kTuple2:
      case kTuple3:
        return push_tuple(pop_many(op - kTuple1 + 1));
      case kAppend:
        return add_parts(Kind::kList, pop_many(1));
      case kAppends:
        return add_parts(Kind::kList, pop_to_mark());
      case kSetItem:
        return add_parts(Kind::kDict, pop_many(2));
      case kSetItems:
        return add_parts(Kind::kDict, pop_to_mark());
      case kBuild:
        return build();
      case kReduce:
        return reduce();
      case kBinPersonId:
        return push({.kind = Kind::kPersistent, .parts = {pop()}});
      case kGlobalOp: {
        const std::string module = line();
        return push_global(module, line());
      }
      case kStackGlobal: {
        const std::string name = pop_text();
        return push_global(pop_text(), name);
      }
      default:
        return run_on_memo(op);
    }
  }

  void run_on_memo(uint8_t op) {
    switch (op) {
      case kBinPut:
        memo_[scalar<uint8_t>()] = top();
        return;
      case kLongBinPut:
        memo_[scalar<uint32_t>()] = top();
        return;
      case kMemoize:
        memo_.emplace(static_cast<uint32_t>(memo_.size()), top());
        return;
      case kBinGet:
        return recall(scalar<uint8_t>());
      case kLongBinGet:
        return recall(scalar<uint32_t>());
      default:
        fail("operation " + std::to_string(op) + " is not one that a dictionary of tensors needs");
    }
  }

  std::string_view take(uint64_t count) {
    if (count > bytes_.size() - position_) fail("it is truncated");
    const std::string_view taken = bytes_.substr(position_, count);
    position_ += count;
    return taken;
  }

  template <typename T>
  T scalar() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }

  // Little-endian two's complement of any length.
  int64_t read_long() {
    const std::string_view digits = take(scalar<uint8_t>());
    if (digits.size() > sizeof(int64_t)) fail("an integer of more than 64 bits");
    uint64_t value = !digits.empty() && (digits.back() & 0x80) != 0 ? ~uint64_t{0} : 0;
    std::memcpy(&value, digits.data(), digits.size());
    return std::bit_cast<int64_t>(value);
  }

  std::string line() {
    const size_t end = bytes_.find('\n', position_);
    if (end == std::string_view::npos) fail("it is truncated");
    const std::string_view text = take(end + 1 - position_);
    return checked_text(text.substr(0, text.size() - 1));
  }

  std::string checked_text(std::string_view text) const {
    if (find_invalid_utf8(text) != std::string_view::npos) fail("a text that is no UTF-8");
    return std::string(text);
  }

  void push(PickleValue value) {
    if (pickle_.values.size() >= kMaxValues)
      fail("more than " + std::to_string(kMaxValues) + " objects");
    stack_.push_back(static_cast<uint32_t>(pickle_.values.size()));
    pickle_.values.push_back(std::move(value));
  }

  void push_integer(int64_t value) { push({.kind = Kind::kInteger, .integer = value}); }
  void push_text(uint64_t size) { push({.kind = Kind::kText, .text = checked_text(take(size))}); }
  void push_tuple(std::vector<uint32_t> parts) {
    push({.kind = Kind::kTuple, .parts = std::move(parts)});
  }

  void push_global(const std::string& module, const std::string& name) {
    std::string global = module + "." + name;
    if (std::ranges::find(allowed_, global) == allowed_.end())
      fail("it asks for " + global +
           ", which no dictionary of tensors needs: refused, nothing of it was executed");
    push({.kind = Kind::kGlobal, .text = std::move(global)});
  }

  // Objects below the last mark belong to what surrounds it.
  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }

  uint32_t top() const {
    if (stack_.size() <= floor()) fail("its stack is empty");
    return stack_.back();
  }

  uint32_t pop() {
    const uint32_t value = top();
    stack_.pop_back();
    return value;
  }

  std::string pop_text() {
    const PickleValue& value = pickle_.values[pop()];
    if (value.kind != Kind::kText) fail("the name of a global is no text");
    return value.text;
  }

  std::vector<uint32_t> pop_many(size_t count) {
    if (stack_.size() < floor() + count) fail("its stack is empty");
    std::vector<uint32_t> values(stack_.end() - static_cast<ptrdiff_t>(count), stack_.end());
    stack_.resize(stack_.size() - count);
    return values;
  }

  std::vector<uint32_t> pop_to_mark() {
    if (marks_.empty()) fail("there is no mark on its stack");
    std::vector<uint32_t> values = pop_many(stack_.size() - marks_.back());
    marks_.pop_back();
    return values;
  }

  void add_parts(Kind kind, const std::vector<uint32_t>& parts) {
    PickleValue& container = pickle_.values[top()];
    if (container.kind != kind) fail("an object is no container of that kind");
    if (kind == Kind::kDict && parts.size() % 2 != 0) fail("a key has no value");
    container.parts.insert(container.parts.end(), parts.begin(), parts.end());
  }

  void build() {
    pop();
    if (pickle_.values[top()].kind != Kind::kDict) fail("it sets the state of an object");
  }

  void reduce() {
    const uint32_t arguments = pop();
    const uint32_t function = pop();
    if (pickle_.values[arguments].kind != Kind::kTuple ||
        pickle_.values[function].kind != Kind::kGlobal)
      fail("a call of what is no function");
    if (pickle_.values[function].text != kOrderedDict)
      return push({.kind = Kind::kCall, .parts = {function, arguments}});
    if (!pickle_.values[arguments].parts.empty()) fail("an OrderedDict of a list");
    push({.kind = Kind::kDict});
  }

  void recall(uint32_t key) {
    const auto found = memo_.find(key);
    if (found == memo_.end()) fail("it recalls what it has not stored");
    stack_.push_back(found->second);
  }

  const std::string_view bytes_;
  const std::span<const std::string_view> allowed_;
  const std::string& source_;
  size_t position_ = 0;
  Pickle pickle_;
  std::vector<uint32_t> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint32_t, uint32_t> memo_;
};

}  // namespace

Pickle parse_pickle(std::string_view bytes, std::span<const std::string_view> allowed,
                    const std::string& source) {
  return Machine(bytes, allowed, source).run();
}

}  // namespace zerostream
