#include "model/gguf_pre_kinds.h"

#include <string>

#include "model/tokenizer_parts.h"

namespace zerostream {
namespace {

// clang-format off
constexpr std::string_view kLlama3 =
    R"re((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[)re"
    R"re(\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)re";
constexpr std::string_view kQwen35 =
    R"re((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\)re"
    R"re(p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)re";
constexpr std::string_view kTekken =
    R"re([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\)re"
    R"re(p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p)re"
    R"re({L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)re";
constexpr std::string_view kGpt4o =
    R"re([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|')re"
    R"re(t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm)re"
    R"re(}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s)re"
    R"re(*[\r\n]+|\s+(?!\S)|\s+)re";
constexpr std::string_view kYoutu =
    R"re([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|')re"
    R"re(t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm)re"
    R"re(}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\)re"
    R"re(n]+|\s+(?!\S)|\s+)re";
constexpr std::string_view kYoutuScripts =
    R"re([\x{AC00}-\x{D7A3}\x{3131}-\x{318E}]+|[\x{FF01}\x{2026}\x{201C}\x{201D}\x{2018}\x{20)re"
    R"re(19}\x{2014}\x{FF1A}\x{FF1B}\x{FF0C}\x{3001}-\x{303F}\x{FE30}-\x{FE4F}]+|[\x{3105}-\x)re"
    R"re({312F}]+|[\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)re";
constexpr std::string_view kJais2 =
    R"re((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[)re"
    R"re(\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)re"
    R"re()|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1})re";
constexpr std::string_view kSeedCoder =
    R"re((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n])re"
    R"re(+|\s*[\r\n]+|\s+(?!\S)|\s+)re";
constexpr std::string_view kBailingMoe =
    R"re('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\)re"
    R"re(r\n]|\s+(?!\S)|\s+)re";
constexpr std::string_view kBloom =
    R"re( ?[^(\s|.,!?\x{2026}\x{3002}\x{FF0C}\x{3001}\x{964}\x{6D4}\x{60C})]+)re";
constexpr std::string_view kDeepseekWords =
    R"re([!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}])re"
    R"re(+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)re";
constexpr std::string_view kDeepseekCjk =
    R"re([\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)re";
constexpr std::string_view kDeepseekLlmLetters =
    R"re(\s?[A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{29)re"
    R"re(3}\x{295}-\x{2AF}\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\)re"
    R"re(x{38A}\x{38C}\x{38E}-\x{3A1}\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{)re"
    R"re(556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{)re"
    R"re(1CBF}\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x)re"
    R"re({1F1D}\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D}\x{)re"
    R"re(1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}\x{1FC6}-\x)re"
    R"re({1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}\x{1FF6}-\)re"
    R"re(x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124}\x{2126}\x{)re"
    R"re(2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F}\x{2145}-\x{2149}\x{)re"
    R"re(214E}\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}\x{2CEB}-\x{2CEE}\x{2CF2}\x{2)re"
    R"re(CF3}\x{A640}-\x{A66D}\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787}\x{A78B}-\x{)re"
    R"re(A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A}\x{FF41}-\x)re"
    R"re({FF5A}\x{10400}-\x{1044F}\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x)re"
    R"re({10CC0}-\x{10CF2}\x{118A0}-\x{118DF}\x{1E900}-\x{1E943}]+)re";
constexpr std::string_view kDeepseekLlmMarks =
    R"re(\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+)re";
constexpr std::string_view kDeepseekOldCjk =
    R"re([\x{4E00}-\x{9FA5}\x{800}-\x{4E00}\x{AC00}-\x{D7FF}]+)re";
constexpr std::string_view kAyaDigits =
    R"re(\d{1,3}(?=(?:\d{3})*\b))re";
constexpr std::string_view kSuperBpeDigits =
    R"re((?=(?:\d{3})+(?!\d)))re";
constexpr std::string_view kFalconMarks =
    R"re([\p{P}\$\+<=>\^~\|`]+)re";
// clang-format on
constexpr std::string_view kLineEnd = R"([\r\n])";
constexpr std::string_view kDigit = R"(\p{N})";
constexpr std::string_view kThreeDigits = R"(\p{N}{1,3})";

constexpr GgufPreKind kKinds[] = {
    {.name = "default", .gpt2_pattern = true},
    {.name = "gpt-2", .gpt2_pattern = true},
    {.name = "phi-2", .gpt2_pattern = true},
    {.name = "gigachat", .gpt2_pattern = true},
    {.name = "a.x-4.0", .gpt2_pattern = true},
    {.name = "mellum", .gpt2_pattern = true},
    {.name = "modern-bert", .gpt2_pattern = true},
    {.name = "jais", .gpt2_pattern = true},
    {.name = "trillion", .gpt2_pattern = true},
    {.name = "granite-docling", .gpt2_pattern = true},
    {.name = "exaone4", .gpt2_pattern = true},
    {.name = "mpt", .gpt2_pattern = true, .nfc = true},
    {.name = "olmo", .gpt2_pattern = true, .nfc = true},
    {.name = "jina-es", .gpt2_pattern = true},
    {.name = "jina-de", .gpt2_pattern = true},
    {.name = "jina-v2-es", .gpt2_pattern = true},
    {.name = "jina-v2-de", .gpt2_pattern = true},
    {.name = "jina-v1-en", .gpt2_pattern = true, .add_bos = true, .add_eos = true},
    {.name = "jina-v2-code", .gpt2_pattern = true, .add_bos = true, .add_eos = true},
    {.name = "roberta-bpe", .gpt2_pattern = true, .add_bos = true, .add_eos = true},
    {.name = "smollm", .patterns = {kDigit}, .gpt2_pattern = true},
    {.name = "starcoder", .patterns = {kDigit}, .gpt2_pattern = true},
    {.name = "refact", .patterns = {kDigit}, .gpt2_pattern = true},
    {.name = "codeshell", .patterns = {kDigit}, .gpt2_pattern = true},
    {.name = "exaone", .patterns = {kDigit}, .gpt2_pattern = true},
    {.name = "minerva-7b", .patterns = {kDigit}, .gpt2_pattern = true},
    {.name = "mellum2", .patterns = {kDigit}, .gpt2_pattern = true},
    {.name = "command-r", .patterns = {kDigit}, .gpt2_pattern = true, .nfc = true},
    {.name = "falcon", .patterns = {kFalconMarks, kGpt2Pattern, "[0-9][0-9][0-9]"}},
    {.name = "llama-bpe", .patterns = {kLlama3}, .ignore_merges = true, .add_bos = true},
    {.name = "llama3", .patterns = {kLlama3}, .ignore_merges = true, .add_bos = true},
    {.name = "llama-v3", .patterns = {kLlama3}, .ignore_merges = true, .add_bos = true},
    {.name = "falcon3", .patterns = {kLlama3}, .ignore_merges = true, .add_bos = true},
    {.name = "falcon-h1", .patterns = {kLlama3}, .ignore_merges = true, .add_bos = true},
    {.name = "pixtral", .patterns = {kLlama3}, .ignore_merges = true, .add_bos = true},
    {.name = "midm-2.0", .patterns = {kLlama3}, .ignore_merges = true, .add_bos = true},
    {.name = "lfm2", .patterns = {kLlama3}, .ignore_merges = true, .add_bos = true},
    {.name = "jina-v5-nano", .patterns = {kLlama3}, .ignore_merges = true, .add_bos = true},
    {.name = "dbrx", .patterns = {kLlama3}},
    {.name = "smaug-bpe", .patterns = {kLlama3}},
    {.name = "glm4", .patterns = {kLlama3}},
    {.name = "chatglm-bpe", .patterns = {kLlama3}},
    {.name = "jais-2", .patterns = {kJais2}},
    {.name = "qwen2", .patterns = {kQwen2Pattern}, .nfc = true},
    {.name = "kormo", .patterns = {kQwen2Pattern}, .nfc = true},
    {.name = "f2llmv2", .patterns = {kQwen2Pattern}, .nfc = true},
    {.name = "megrez", .patterns = {kQwen2Pattern}, .nfc = true},
    {.name = "deepseek-r1-qwen", .patterns = {kQwen2Pattern}, .nfc = true, .add_bos = true},
    {.name = "stablelm2", .patterns = {kQwen2Pattern}},
    {.name = "hunyuan", .patterns = {kQwen2Pattern}},
    {.name = "solar-open", .patterns = {kQwen2Pattern}},
    {.name = "grok-2", .patterns = {kQwen2Pattern}},
    {.name = "qwen35", .patterns = {kQwen35}, .nfc = true},
    {.name = "tekken", .patterns = {kTekken}, .ignore_merges = true, .add_bos = true},
    {.name = "gpt-4o", .patterns = {kGpt4o}},
    {.name = "llama4", .patterns = {kGpt4o}, .add_bos = true},
    {.name = "kanana2", .patterns = {kGpt4o}},
    {.name = "talkie", .patterns = {kGpt4o}},
    {.name = "minimax-m2", .patterns = {kGpt4o}},
    {.name = "tiny_aya", .patterns = {kAyaDigits, kGpt4o}},
    {.name = "youtu", .patterns = {kYoutuScripts, kYoutu}, .ignore_merges = true},
    {.name = "deepseek-v3", .patterns = {kThreeDigits, kDeepseekCjk, kDeepseekWords}},
    {.name = "hunyuan-dense", .patterns = {kThreeDigits, kDeepseekCjk, kDeepseekWords}},
    {.name = "joyai-llm", .patterns = {kThreeDigits, kDeepseekCjk, kDeepseekWords}},
    {.name = "deepseek-llm",
     .patterns = {kLineEnd, kDeepseekLlmLetters, kDeepseekLlmMarks, R"(\s+$)", kDeepseekOldCjk,
                  R"(\p{N}+)"}},
    {.name = "deepseek-coder",
     .patterns = {kLineEnd, R"(\s?\p{L}+)", R"(\s?\p{P}+)", kDeepseekOldCjk, kDigit}},
    {.name = "seed-coder", .patterns = {kSeedCoder}},
    {.name = "bailingmoe", .patterns = {kBailingMoe}},
    {.name = "bailingmoe2", .patterns = {kBailingMoe}},
    {.name = "llada-moe", .patterns = {kBailingMoe}},
    {.name = "superbpe", .patterns = {R"(\p{N}+)", kSuperBpeDigits}},
    {.name = "poro-chat", .patterns = {kBloom}},
    {.name = "bloom", .patterns = {kBloom}},
    {.name = "gpt3-finnish", .patterns = {kBloom}},
    {.name = "viking", .patterns = {kBloom, kDigit}},
};

}  // namespace

const GgufPreKind& find_gguf_pre_kind(const JsonPart& pre) {
  const std::string name = pre.is_null() ? "default" : pre.text();
  for (const GgufPreKind& kind : kKinds) {
    if (kind.name == name) return kind;
  }
  pre.fail("\"" + name + "\" is not supported");
}

}  // namespace zerostream
