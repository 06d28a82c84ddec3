#include "model/post_processor.h"

#include <string>
#include <utility>

#include "model/text_edit.h"

namespace zerostream {
namespace {

constexpr size_t kMostSpecials = 4096;

}  // namespace

PostProcessor::PostProcessor(const JsonPart& post_processor) {
  if (!post_processor.is_null()) add(post_processor);
}

void PostProcessor::add(const JsonPart& post_processor) {
  const std::string type = post_processor.type();
  if (type == "Sequence") {
    for (const JsonPart& part : post_processor.member("processors").items()) add(part);
  } else if (type == "TemplateProcessing") {
    templates_.push_back(read_template(post_processor));
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    templates_.push_back(read_cls_sep(post_processor));
  } else if (type != "ByteLevel") {
    post_processor.fail_type();
  }
}

PostProcessor::Template PostProcessor::read_template(const JsonPart& part) {
  Template pieces;
  size_t specials_count = 0;
  const JsonPart specials = part.member("special_tokens");
  for (const JsonPart& item : part.member("single").items()) {
    const JsonPart special = item.member("SpecialToken");
    if (special.is_null()) {
      if (item.member("Sequence").member("id").text() != "A") item.fail("must be sequence A");
      pieces.push_back({.is_text = true});
      continue;
    }
    Piece piece;
    const JsonPart known = specials.member(special.member("id").text());
    if (known.is_null()) known.fail("is used in the template, but missing");
    for (const JsonPart& id : known.member("ids").items()) piece.ids.push_back(id.id());
    specials_count += piece.ids.size();
    if (specials_count > kMostSpecials) part.fail("has too many special tokens");
    pieces.push_back(std::move(piece));
  }
  return pieces;
}

PostProcessor::Template PostProcessor::read_cls_sep(const JsonPart& part) {
  const auto id_of = [&](const char* key) {
    const std::vector<JsonPart> pair = part.member(key).items();
    if (pair.size() != 2) part.member(key).fail("must be a token and its id");
    return pair[1].id();
  };
  return {{.ids = {id_of("cls")}}, {.is_text = true}, {.ids = {id_of("sep")}}};
}

std::vector<int32_t> PostProcessor::operator()(std::vector<int32_t> ids) const {
  const size_t given = ids.size();
  for (const Template& pieces : templates_) {
    std::vector<int32_t> result;
    for (const Piece& piece : pieces) {
      const std::vector<int32_t>& source = piece.is_text ? ids : piece.ids;
      result.insert(result.end(), source.begin(), source.end());
      check_growth(given, result.size());
    }
    ids = std::move(result);
  }
  return ids;
}

}  // namespace zerostream
