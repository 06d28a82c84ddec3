"""Small tokenizers in the pipelines of well-known models, other than byte-level BPE.

Each function of KINDS trains one on the text of make_tokenizer_golden.py (or on `corpus`) and returns a
`tokenizers.Tokenizer`. `charsmap` is a map of sentencepiece: bytes, as its models carry it.
"""

import tempfile
from pathlib import Path

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

# What "nmt_nfkc_cf" does to a few characters, in sentencepiece's notation: code points before and after.
RULES = """
9\t20
a\t20
d\t20
200b\t20
3000\t20
fb01\t66 69
bd\t31 2044 32
ff21\t61
ff22\t62
41\t61
45\t65
45 301\te9
65 301\te9
61 30a\te5
c9\te9
212b\te5
1100 1161\tac00
30ab 3099\t30ac
ff76 ff9e\t30ac
2126\t3c9
132\t69 6a
1d15e\t1d157 1d165
958\t915 93c
ad\t
"""


def special(content, **options):
    return AddedToken(content, special=True, normalized=False, **options)


def template(tokenizer, single):
    names = [name for name in single.split() if not name.startswith("$")]
    return processors.TemplateProcessing(single=single, pair=single + " $B:1", special_tokens=[(name, tokenizer.token_to_id(name)) for name in sorted(set(names))])


def train_charsmap(corpus, **how):
    """A charsmap made by sentencepiece: by the rules above, or a standard one by its name."""
    with tempfile.TemporaryDirectory() as folder:
        text, rules, model = (Path(folder) / name for name in ("text", "rules.tsv", "model"))
        text.write_text("\n".join(corpus))
        rules.write_text(RULES.strip("\n") + "\n")
        how = how or {"normalization_rule_tsv": str(rules)}
        sentencepiece.SentencePieceTrainer.train(
            input=str(text), model_prefix=str(model), vocab_size=400, hard_vocab_limit=False, num_threads=1, minloglevel=2, **how
        )
        from sentencepiece import sentencepiece_model_pb2

        proto = sentencepiece_model_pb2.ModelProto()
        proto.ParseFromString(Path(str(model) + ".model").read_bytes())
        return proto.normalizer_spec.precompiled_charsmap


BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
LLAMA_DECODER = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
METASPACE_FIRST = {"replacement": "▁", "prepend_scheme": "first", "split": False}


def byte_fallback_bpe(corpus, size, specials=("<unk>", "<s>", "</s>")):
    """A BPE over marks of spaces, whose vocabulary begins as that of Llama 2."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False, special_tokens=[*specials, *BYTES], min_frequency=2, limit_alphabet=60)
    tokenizer.train_from_iterator(corpus, trainer)
    import json

    model = json.loads(tokenizer.to_str())["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    made = Tokenizer(models.BPE(model["vocab"], merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.add_special_tokens([special(name) for name in specials])
    return made


def llama2(corpus, charsmap):
    tokenizer = byte_fallback_bpe(corpus, 700)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(**METASPACE_FIRST)
    tokenizer.decoder = decoders.Sequence(LLAMA_DECODER + [decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = template(tokenizer, "<s> $A")
    return tokenizer


def llama2_legacy(corpus, charsmap):
    tokenizer = byte_fallback_bpe(corpus, 700)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(LLAMA_DECODER + [decoders.Strip(" ", 1, 0)])
    tokenizer.add_tokens([AddedToken("<tool>", normalized=True), AddedToken("word", single_word=True, normalized=False), AddedToken("<trim>", rstrip=True, normalized=False)])
    tokenizer.post_processor = template(tokenizer, "<s> $A </s>")
    return tokenizer


def gemma(corpus, charsmap):
    tokenizer = byte_fallback_bpe(corpus, 600, ("<pad>", "<eos>", "<bos>", "<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence(LLAMA_DECODER)
    tokenizer.post_processor = template(tokenizer, "<bos> $A")
    return tokenizer


def metaspace_words(corpus, charsmap):
    """Words by marks, none at the beginning; characters without a token are unknown, one by one."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    trainer = trainers.BpeTrainer(vocab_size=400, show_progress=False, special_tokens=["<unk>"], limit_alphabet=50)
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="never")
    return tokenizer


def unigram(corpus, size, specials, unk="<unk>", byte_fallback=False):
    """Trains on words by marks of spaces. Scores are those of the trainer."""
    import json

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(vocab_size=size, show_progress=False, special_tokens=specials, unk_token=unk)
    tokenizer.train_from_iterator(corpus, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    vocab = [(token, score) for token, score in model["vocab"]]
    if byte_fallback:
        vocab[len(specials) : len(specials)] = [(name, 0.0) for name in BYTES]
    made = Tokenizer(models.Unigram(vocab, specials.index(unk), byte_fallback))
    made.add_special_tokens([special(name) for name in specials])
    return made


def t5(corpus, charsmap):
    tokenizer = unigram(corpus, 500, ["<pad>", "</s>", "<unk>"])
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Precompiled(charsmap), normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), "▁")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.post_processor = template(tokenizer, "$A </s>")
    return tokenizer


def xlm_roberta(corpus, charsmap):
    """Words by white space first, byte fallback, a mask that takes the space before it."""
    tokenizer = unigram(corpus, 500, ["<s>", "<pad>", "</s>", "<unk>"], byte_fallback=True)
    tokenizer.add_special_tokens([special("<mask>", lstrip=True)])
    tokenizer.normalizer = normalizers.Precompiled(charsmap)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")])
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="always")])
    tokenizer.post_processor = template(tokenizer, "<s> $A </s>")
    return tokenizer


def albert(corpus, charsmap):
    tokenizer = unigram([line.lower() for line in corpus], 400, ["<pad>", "<unk>", "[CLS]", "[SEP]"])
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace("``", '"'),
            normalizers.Replace("''", '"'),
            normalizers.NFKD(),
            normalizers.StripAccents(),
            normalizers.Lowercase(),
            normalizers.Precompiled(charsmap),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.post_processor = template(tokenizer, "[CLS] $A [SEP]")
    return tokenizer


def scripts(corpus, charsmap):
    """Pieces of one script each."""
    tokenizer = unigram(corpus, 400, ["<unk>"])
    tokenizer.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Strip(left=False)])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.UnicodeScripts(), pre_tokenizers.Metaspace(prepend_scheme="never")])
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="never")
    return tokenizer


def bert(corpus, lowercase, strip_accents=None):
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=strip_accents, lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=600, show_progress=False, special_tokens=specials)
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", tokenizer.token_to_id("[SEP]")), ("[CLS]", tokenizer.token_to_id("[CLS]")))
    return tokenizer


def bert_uncased(corpus, charsmap):
    return bert(corpus, lowercase=True)


def bert_cased(corpus, charsmap):
    return bert(corpus, lowercase=False)


def word_level(corpus, charsmap):
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(corpus, trainers.WordLevelTrainer(vocab_size=250, show_progress=False, special_tokens=["<unk>", "<mask>"]))
    return tokenizer


def end_of_word(corpus, charsmap):
    """Endings of words are marked (GPT, CLIP)."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>", fuse_unk=False))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.BpeTrainer(vocab_size=450, show_progress=False, special_tokens=["<unk>"], end_of_word_suffix="</w>", limit_alphabet=60)
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    return tokenizer


def continuing(corpus, charsmap):
    """Pieces within words are marked."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", continuing_subword_prefix="##", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.FixedLength(7)])
    trainer = trainers.BpeTrainer(vocab_size=450, show_progress=False, special_tokens=["<unk>"], continuing_subword_prefix="##", limit_alphabet=60)
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    return tokenizer


def recogniser(corpus, charsmap):
    letters = "<pad> <s> </s> <unk> | e t a o i n s h r d l u m w c f g y p b v k ' x j q z .".split()
    tokenizer = Tokenizer(models.WordLevel({letter: i for i, letter in enumerate(letters)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(" ", "|")])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(""), "isolated")
    tokenizer.decoder = decoders.CTC(pad_token="<pad>", word_delimiter_token="|", cleanup=True)
    return tokenizer


def falcon(corpus, charsmap):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Punctuation("contiguous"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            pre_tokenizers.Digits(individual_digits=False),
            pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated"),
        ]
    )
    trainer = trainers.BpeTrainer(vocab_size=600, show_progress=False, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


KINDS = {
    "llama2": llama2,
    "llama2_legacy": llama2_legacy,
    "gemma": gemma,
    "metaspace_words": metaspace_words,
    "t5": t5,
    "xlm_roberta": xlm_roberta,
    "albert": albert,
    "scripts": scripts,
    "bert_uncased": bert_uncased,
    "bert_cased": bert_cased,
    "word_level": word_level,
    "end_of_word": end_of_word,
    "continuing": continuing,
    "recogniser": recogniser,
    "falcon": falcon,
}
