"""Makes the golden data of tokenizers: small tokenizer.json files and what Hugging Face makes of hard texts.

    python tests/golden/make_tokenizer_golden.py [FOLDER]

needs `tokenizers`, `transformers` and `sentencepiece` (written with 0.23.3, 5.23.0 and 0.2.3). The same seeds give the same
files.

tokenizers/NAME.json        a byte-level BPE trained on the text below, with a real model's pre-tokenizer
tokenizers/texts.json       the texts of these
tokenizers/NAME.json        likewise the other pipelines of tokenizer_kinds.py; their texts are kinds_texts.json
tokenizers/folders/NAME/    the folders of tokenizer_folders.py, each with its cases
tokenizers/NAME.cases.json  "texts": per text [ids with special tokens, ids without (null: the same), decoded text (null:
                            the text itself), decoded without special tokens (null: as decoded)]; decoded are the
                            first ids. "ids": random ones as [ids, decoded text, decoded without special tokens]
"""

import json
import random
import sys
from pathlib import Path

import tokenizer_folders
import tokenizer_kinds
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

CORPUS = """
The ferry leaves the harbour at seven and comes back at noon. Nobody on board minds the rain, because the captain's
brother sells hot soup for 3.50 a cup. They've sold 1200 cups since 1987, and he'll sell more if it doesn't stop.
def read_lines(path):
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            yield number, line.rstrip("\\n")
int main(int argc, char** argv) {
	std::vector<std::string> names(argv + 1, argv + argc);
	for (const auto& name : names) { std::cout << name << '\\n'; }
	return names.empty() ? 1 : 0;
}
{"id": 17, "tags": ["red", "green"], "price": 12.75, "note": null}
L'été dernier, nous avons mangé des crêpes près de la forêt. Où sont les clés? Ça dépend.
Der Bäcker verkauft größere Brötchen für drei Euro; die Straße ist über Nacht naß geworden.
Мы шли вдоль реки, и вода была холодная. Кто там? Это я.
今天天气很好，我们去公园散步吧。昨天下了一场大雨。
きのう、友達と映画を見ました。とても楽しかったです。
오늘은 날씨가 좋아서 공원에 갔습니다.
السماء صافية والبحر هادئ اليوم.
היום אנחנו הולכים לים.
आज मौसम बहुत अच्छा है।
We can't say it's over; I'm sure you'd agree, and WE'LL SEE WHAT THEY'VE GOT. 3 + 4 = 7, 10 * 10 = 100, 2024-06-30.
👩‍🚀 🙂 👍🏽 🇫🇷 🎉🎉
"""

TEXTS = [
    "", " ", "  ", "   a", "a   ", "\n", "\n\n\n", "\t\t x", " \n \n", "\r\n", "a\r\nb\r\n\r\nc", "  \n  indented\n\tmore", "x\x0by\x0cz",
    "Hello world", " Hello  world ", "Hello, world! How's it going?", "I'm you're he'll they've she'd it's don't 'tis",
    "I'M YOU'RE HE'LL THEY'VE SHE'D IT'S DON'T 'TIS", "'ſ 'S 'ſa o'clock ''s '", "rock'n'roll's", "1 12 123 1234 12345 1234567890",
    "3.14159 1,000,000 0x1F ½ ² ₃ Ⅳ ٣٤٥ 一二三 ๑๒๓", "٣a٤", "for (int i = 0; i < n; ++i) { a[i] += b[i]; }  // done\n", "    return self._x\n\n\nclass A:\n\tpass",
    "<div class=\"a\">&nbsp;</div>", "C:\\path\\to\\file.txt /usr/bin/env", "https://example.org/a?b=c&d=%20#e", "$$$ !!! ??? ... --- ___ ===",
    "日本語のテキスト、そして漢字。", "今天，天气很好！2024年", "한국어 텍스트", "한국어", "ไม่มีช่องว่าง", "हिन्दी में क्षत्रिय", "العربية ‏من اليمين", "עברית‎ שלום",
    "é e\u0301 ệ e\u0323\u0302 e\u0302\u0323 ｶﾞ \u212b \u2126 \ufb01", "a\u0300\u0316\u0315b", "Z\u0351\u036b\u0343a\u0340\u0341l\u0343g\u0344o", "\u0301leading mark", "\u1100\u1161\u11a8 \uac00\u11a8", "\u0958 \u2adc \U0001d15e",
    "👩‍👩‍👧‍👦 family", "👍🏽👍🏿", "🇩🇪🇫🇷🇯🇵", "❤️ ❤︎ ☺", "🏳️‍🌈", "a👩‍🚀b", "\U0001f9ff\U0001fae8", "\ufe0f", "\u200d",
    "non\u00a0breaking\u00a0 space", "\u2003em\u2009thin\u200bzero\u202fnarrow\u3000ideographic\u1680ogham\u180emongol\u2028line\u2029para\x85nel", "  \u00a0 \u00a0x", "\u3000\u3000", "a\u00adb\u2060c\ufeffd",
    "\x00", "a\x00b\x01c\x1f\x7f", "\x1b[31mred\x1b[0m", "\ufffd\ufffe\uffff", "\ud7ff\ue000\U0010ffff\U000f0000", "\U00031350\U0002ebf0\U0001e030\U000105c0\U00010d40",
    "a" * 300, "ab" * 150, " " * 130, "\n" * 40, "=" * 90, "的" * 60, "🙂" * 30, "é" * 70, "x " * 60, "word" + "\u0301" * 40, "Supercalifragilisticexpialidocious" * 4, "1" * 50,
    "<|endoftext|>", "a<|endoftext|>b", " <|endoftext|> ", "<|endoftext|><|endoftext|>", "<|endoftext|", "<|begin|>x<|end|>", "<|im_start|>user\nHi<|im_end|>\n", "<|IM_START|>",
    "a <mask> b", "a <mask>b", "a\u00a0\n <mask> \t b", "<mask><mask>", "<trim>  x", "x  <trim>  \n<trim> y", "x <both>  <both> y", "<both>", "word", "a word b", "sword word words", "word\u0301 word", "word_ -word- (word)",
    "\u200dword\u200c word", "Café CAFÉ cafe\u0301 Cafe\u0301", "<tool>x</tool>", "<tool> <tool><too", "aab aabb aabbb", "x aaab",
]

ALPHABETS = [
    [chr(c) for c in range(32, 127)],
    list(" \t\n\r\u00a0\u2003\u3000\x0b\x85'.,aZ0"),
    list("'sStTrReEvVmMlLdD ſ\u212a"),
    ["<|endoftext|>", "<mask>", "<trim>", "<both>", "word", "<tool>", "aab", "aabb", "<|im_start|>", " ", "  ", "\n", "a", "_", "é", "e\u0301", "-"],
    [chr(c) for c in range(0xC0, 0x250)] + [chr(c) for c in range(0x300, 0x345)] + [" "],
    [chr(c) for c in range(0x4E00, 0x4E60)] + [chr(c) for c in range(0x3041, 0x3097)] + list("，。！ "),
    list("🙂👩🚀👍🏽🏿❤☺🎉🇫🇷🇩🇪\u200d\ufe0f "),
    list("0123456789٣٤²½Ⅳ௧ .,-"),
    None,
]


def random_texts(count, seed):
    """Texts of one alphabet each, or of any code points."""
    chance = random.Random(seed)
    texts = []
    for i in range(count):
        alphabet = ALPHABETS[i % len(ALPHABETS)]
        if alphabet is None:
            points = [chance.choice([chance.randrange(0x250), chance.randrange(0x3000), chance.randrange(0x110000)]) for _ in range(chance.randrange(1, 16))]
            texts.append("".join(chr(p) for p in points if not 0xD800 <= p < 0xE000))
        else:
            texts.append("".join(chance.choice(alphabet) for _ in range(chance.randrange(1, 25))))
    return texts


def byte_level(prefix_space=False, use_regex=True):
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix_space, use_regex=use_regex)


def split_then_bytes(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), byte_level(use_regex=False)])


def train(pre_tokenizer, size, normalizer=None, **model):
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS.splitlines(keepends=True), trainer)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def special(content, **options):
    return AddedToken(content, special=True, normalized=False, **options)


def gpt2():
    tokenizer = train(byte_level(), 700)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def gpt2_prefix():
    """A leading space, tokens that strip, stand alone or overlap, RoBERTa's specials."""
    tokenizer = train(byte_level(prefix_space=True), 600)
    tokenizer.add_special_tokens([special("<s>"), special("</s>"), special("<mask>", lstrip=True), special("<trim>", rstrip=True)])
    tokenizer.add_tokens([AddedToken("<both>", lstrip=True, rstrip=True, normalized=False), AddedToken("word", single_word=True), "aab", "aabb", "b "])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", tokenizer.token_to_id("</s>")), ("<s>", tokenizer.token_to_id("<s>")))
    return tokenizer


def template(tokenizer, single):
    names = [name for name in single.split() if not name.startswith("$")]
    return processors.TemplateProcessing(single=single, pair=single + " $B:1", special_tokens=[(name, tokenizer.token_to_id(name)) for name in set(names)])


def llama3():
    tokenizer = train(split_then_bytes(LLAMA3), 800, ignore_merges=True)
    tokenizer.add_special_tokens([special("<|begin|>"), special("<|end|>"), special("<|im_start|>")])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template(tokenizer, "<|begin|> $A")])
    return tokenizer


def qwen2():
    tokenizer = train(split_then_bytes(QWEN2), 800, normalizers.NFC())
    tokenizer.add_special_tokens([special("<|im_start|>"), special("<|im_end|>")])
    tokenizer.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("</tool>", normalized=False), AddedToken("cafe\u0301", normalized=True)])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def smollm():
    tokenizer = train(pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level()]), 700)
    tokenizer.add_special_tokens([special("<|im_start|>"), special("<|im_end|>")])
    return tokenizer


def bos_eos():
    """Splits that merge with a neighbour, a template with tokens on both sides."""
    steps = [
        pre_tokenizers.Split(",", "merged_with_previous"),
        pre_tokenizers.Split(Regex(r"\s"), "merged_with_next"),
        pre_tokenizers.Split(Regex(r"[\p{L}\p{M}]+"), "removed", invert=True),
        byte_level(use_regex=False),
    ]
    tokenizer = train(pre_tokenizers.Sequence(steps), 500, normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex("[0-9]+"), "n")]))
    tokenizer.add_special_tokens([special("<|begin|>"), special("<|end|>")])
    tokenizer.post_processor = template(tokenizer, "<|begin|> <|begin|> $A <|end|>")
    return tokenizer


TOKENIZERS = {"gpt2": gpt2, "gpt2_prefix": gpt2_prefix, "llama3": llama3, "qwen2": qwen2, "smollm": smollm, "bos_eos": bos_eos}


def cases(tokenizer, texts):
    rows = []
    for text in texts:
        full = tokenizer.encode(text).ids
        plain = tokenizer.encode(text, add_special_tokens=False).ids
        decoded = tokenizer.decode(full, skip_special_tokens=False)
        skipped = tokenizer.decode(full, skip_special_tokens=True)
        rows.append([full, None if plain == full else plain, None if decoded == text else decoded, None if skipped == decoded else skipped])
    return rows


def random_ids(tokenizer, count, seed):
    """Mostly single bytes, so that characters come in halves and in ruins."""
    chance = random.Random(seed)
    rows = []
    for _ in range(count):
        highest = min(chance.choice([260, tokenizer.get_vocab_size()]), tokenizer.get_vocab_size())
        ids = [chance.randrange(highest) for _ in range(chance.randrange(1, 30))]
        rows.append([ids, tokenizer.decode(ids, skip_special_tokens=False), tokenizer.decode(ids, skip_special_tokens=True)])
    return rows


def dump(value, path):
    path.write_text(json.dumps(value, ensure_ascii=True, separators=(",", ":")) + "\n")


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "tokenizers"
    folder.mkdir(exist_ok=True)
    texts = TEXTS + random_texts(234, 1)
    dump(texts, folder / "texts.json")
    make_byte_level(folder, texts)
    texts = TEXTS + random_texts(45, 3)
    dump(texts, folder / "kinds_texts.json")
    make_kinds(folder, texts)
    make_folders(folder, texts)


def make_byte_level(folder, texts):
    for name, make in TOKENIZERS.items():
        tokenizer = make()
        content = json.loads(tokenizer.to_str())
        if name in ("gpt2", "llama3"):  # merges as older versions write them
            content["model"]["merges"] = [" ".join(pair) for pair in content["model"]["merges"]]
        dump(content, folder / f"{name}.json")
        tokenizer = Tokenizer.from_file(str(folder / f"{name}.json"))
        rows = {"texts": cases(tokenizer, texts), "ids": random_ids(tokenizer, 30, 2)}
        dump(rows, folder / f"{name}.cases.json")


def make_kinds(folder, texts):
    corpus = CORPUS.splitlines(keepends=True)
    charsmap = tokenizer_kinds.train_charsmap(corpus)
    for name, make in tokenizer_kinds.KINDS.items():
        path = folder / f"{name}.json"
        dump(json.loads(make(corpus, charsmap).to_str()), path)
        tokenizer = Tokenizer.from_file(str(path))
        rows = {"file": "kinds_texts.json", "texts": cases(tokenizer, texts), "ids": random_ids(tokenizer, 15, 2)}
        dump(rows, folder / f"{name}.cases.json")


def make_folders(folder, texts):
    for name, make in tokenizer_folders.FOLDERS.items():
        path = folder / "folders" / name
        path.mkdir(parents=True, exist_ok=True)
        make(path, CORPUS.splitlines(keepends=True), folder)
        rows = tokenizer_folders.cases(tokenizer_folders.truth(name, path), texts)
        dump({"file": "kinds_texts.json", "texts": rows, "ids": []}, path / "cases.json")


if __name__ == "__main__":
    main()
