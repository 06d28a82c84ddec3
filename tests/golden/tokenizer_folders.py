"""Folders without a tokenizer.json, as older models come, and what transformers makes of them.

FOLDERS gives for each name the function that writes the folder's files. The truth is AutoTokenizer, or for
`plain`, whose class no library knows, sentencepiece itself.
"""

import json
import shutil
import tempfile
from pathlib import Path

import sentencepiece

from tokenizer_kinds import RULES


def write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def train(corpus, target, rules=False, **how):
    """A sentencepiece model."""
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text"
        text.write_text("\n".join(line.rstrip("\n") for line in corpus))
        if rules:
            how["normalization_rule_tsv"] = str(Path(folder) / "rules.tsv")
            Path(how["normalization_rule_tsv"]).write_text(RULES.strip("\n") + "\n")
        prefix = str(Path(folder) / "model")
        sentencepiece.SentencePieceTrainer.train(
            input=str(text), model_prefix=prefix, num_threads=1, minloglevel=2, hard_vocab_limit=False, **how
        )
        shutil.copy(prefix + ".model", target)


BPE = {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity", "remove_extra_whitespaces": False,
       "character_coverage": 0.98, "split_digits": True, "allow_whitespace_only_pieces": True, "vocab_size": 560}


def llama(folder, corpus, tokenizers):
    train(corpus, folder / "tokenizer.model", **BPE)
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "legacy": False})


def llama_legacy(folder, corpus, tokenizers):
    train(corpus, folder / "tokenizer.model", **BPE)
    added = {"560": {"content": "<tool>", "lstrip": False, "rstrip": True, "normalized": False, "single_word": False, "special": False}}
    write_json(folder / "tokenizer_config.json", {
        "tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": True, "legacy": True, "added_tokens_decoder": added,
        "bos_token": {"__type": "AddedToken", "content": "<s>", "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}})


def gemma(folder, corpus, tokenizers):
    names = {"pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3, "eos_piece": "<eos>", "bos_piece": "<bos>"}
    train(corpus, folder / "tokenizer.model", **BPE, **names, add_dummy_prefix=False, user_defined_symbols=["<mask>", "<start_of_turn>", "<end_of_turn>"])
    write_json(folder / "config.json", {"model_type": "gemma"})
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "GemmaTokenizer", "add_bos_token": True})


def t5(folder, corpus, tokenizers):
    train(corpus, folder / "spiece.model", rules=True, vocab_size=400, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "T5Tokenizer", "extra_ids": 8})


def plain(folder, corpus, tokenizers):
    train(corpus, folder / "tokenizer.model", vocab_size=560, byte_fallback=True, normalization_rule_name="identity")


def byte_level(folder, tokenizer):
    model = json.loads((tokenizer).read_text())["model"]
    write_json(folder / "vocab.json", model["vocab"])
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")


def opt(folder, corpus, tokenizers):
    byte_level(folder, tokenizers / "gpt2.json")
    token = {"__type": "AddedToken", "content": "</s>", "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    write_json(folder / "config.json", {"model_type": "opt"})
    write_json(folder / "tokenizer_config.json", {"add_bos_token": True, "bos_token": token, "eos_token": token, "unk_token": token,
                                                  "pad_token": {**token, "content": "<pad>"}, "tokenizer_class": "GPT2Tokenizer"})


def gpt2(folder, corpus, tokenizers):
    byte_level(folder, tokenizers / "gpt2.json")
    write_json(folder / "config.json", {"model_type": "gpt2"})


def qwen2(folder, corpus, tokenizers):
    byte_level(folder, tokenizers / "qwen2.json")
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "Qwen2Tokenizer"})


def bert(folder, corpus, tokenizers):
    vocab = json.loads((tokenizers / "bert_uncased.json").read_text())["model"]["vocab"]
    (folder / "vocab.txt").write_text("\n".join(sorted(vocab, key=vocab.get)) + "\n")
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": False})


FOLDERS = {"llama": llama, "llama_legacy": llama_legacy, "gemma": gemma, "t5": t5, "plain": plain, "opt": opt, "gpt2": gpt2, "qwen2": qwen2, "bert": bert}


class Sentencepiece:
    """The truth of `plain` in the shape of transformers."""

    def __init__(self, folder):
        self.model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))

    def encode(self, text, add_special_tokens):
        return self.model.encode(text)

    def decode(self, ids, skip_special_tokens):
        return self.model.decode(ids)


def truth(name, folder):
    from transformers import AutoTokenizer

    return Sentencepiece(folder) if name == "plain" else AutoTokenizer.from_pretrained(str(folder))


def cases(tokenizer, texts):
    rows = []
    for text in texts:
        full = tokenizer.encode(text, add_special_tokens=True)
        plain = tokenizer.encode(text, add_special_tokens=False)
        decoded = tokenizer.decode(full, skip_special_tokens=False)
        skipped = tokenizer.decode(full, skip_special_tokens=True)
        rows.append([full, None if plain == full else plain, None if decoded == text else decoded, None if skipped == decoded else skipped])
    return rows
