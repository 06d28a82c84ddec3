#include <iostream>
#include <memory>

#include "cli/commands.h"
#include "cli/signals.h"
#include "model/tokenizer.h"
#include "offload/json_values.h"
#include "offload/line_reader.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

struct TokenizeFlags {
  std::string path;
  bool no_special_tokens = false, decode = false, skip_special_tokens = false;
};

Json converted(const Json& line, const Tokenizer& tokenizer, const TokenizeFlags& flags) {
  if (flags.decode) return tokenizer.decode(read_token_ids(line), flags.skip_special_tokens);
  if (!line.is_string()) throw BadValue{"a string"};
  return tokenizer.encode(line.get_ref<const std::string&>(), !flags.no_special_tokens);
}

void convert_line(const LineReader::Line& line, const Tokenizer& tokenizer,
                  const TokenizeFlags& flags) {
  const std::string place = "stdin:" + std::to_string(line.number);
  if (line.too_long) throw UsageError(place + ": the line is too long");
  if (line.text.find_first_not_of(" \t\r") == std::string::npos) return;
  Json value;
  try {
    value = parse_json(line.text, place);
    std::cout << converted(value, tokenizer, flags) << std::endl;
  } catch (const CheckpointError& error) {
    throw UsageError(error.what());
  } catch (const UsageError& error) {
    throw UsageError(place + ": " + error.what());
  } catch (const BadValue& bad) {
    throw UsageError(place + ": " + show_value(value) + " is not " + bad.expected);
  }
  if (!std::cout) throw IoError("cannot write to stdout", errno);
}

void tokenize(const TokenizeFlags& flags) {
  const auto tokenizer = load_tokenizer(flags.path);
  const std::atomic<bool> never = false;
  LineReader lines("-", never);
  while (const auto line = lines.next()) convert_line(*line, *tokenizer, flags);
}

}  // namespace

void add_tokenize(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<TokenizeFlags>();
  CLI::App* command = app.add_subcommand(
      "tokenize", "Turns lines of JSON on stdin, \"text\" or [ids], into ids or text");
  command
      ->add_option("PATH", flags->path, "Model folder, tokenizer file, GGUF file or packed store")
      ->required();
  CLI::Option* no_special =
      command->add_flag("--no-special-tokens", flags->no_special_tokens, "Adds none (BOS, ...)");
  CLI::Option* decode = command->add_flag("--decode", flags->decode, "From ids to text");
  command->add_flag("--skip-special-tokens", flags->skip_special_tokens, "Leaves them out of text")
      ->needs(decode);
  no_special->excludes(decode);
  command->callback([=, &exit_code] {
    tokenize(*flags);
    exit_code = 0;
  });
}

}  // namespace zerostream
