"""Compares `zerostream tokenize` with Hugging Face on random texts, over all kinds and folders of the golden data.

    python tests/golden/compare_tokenizers.py PROGRAM [TEXTS] [SEED]

Needs what make_tokenizer_golden.py needs. Prints each difference and exits with 1 if there is one. Ids are those
of the texts: for ids that no text gives, what sentencepiece and transformers say differs.
"""

import json
import subprocess
import sys
from pathlib import Path

from tokenizers import Tokenizer

import make_tokenizer_golden as golden
import tokenizer_folders

FOLDER = Path(__file__).parent / "tokenizers"


def tokenize(program, path, lines, *flags):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    done = subprocess.run([program, "tokenize", str(path), *flags], input=text, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.rstrip("\n").split("\n")]


class Library:
    """A tokenizer.json, in the shape of transformers."""

    def __init__(self, path):
        self.tokenizer = Tokenizer.from_file(str(path))

    def encode(self, text, add_special_tokens):
        return self.tokenizer.encode(text, add_special_tokens=add_special_tokens).ids

    def decode(self, ids, skip_special_tokens):
        return self.tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)


def compare(program, path, truth, texts):
    differences = 0
    for special in (True, False):
        ids = [truth.encode(text, add_special_tokens=special) for text in texts]
        ours = tokenize(program, path, texts, *([] if special else ["--no-special-tokens"]))
        back = tokenize(program, path, ids, "--decode", *([] if special else ["--skip-special-tokens"]))
        for text, want, got, decoded in zip(texts, ids, ours, back, strict=True):
            text_back = truth.decode(want, skip_special_tokens=not special)
            if got != want or decoded != text_back:
                differences += 1
                print(f"{path}: {text!r}\n  ids  {want}\n  ours {got}\n  text {text_back!r}\n  ours {decoded!r}")
    print(f"{path}: {2 * len(texts)} compared, {differences} differ")
    return differences


def main():
    program, count, seed = sys.argv[1], int((sys.argv[2:] or [1000])[0]), int((sys.argv[3:] or [7])[0])
    texts = golden.TEXTS + golden.random_texts(count, seed)
    differences = 0
    for path in sorted(FOLDER.glob("*.cases.json")):
        path = path.with_name(path.name.replace(".cases", ""))
        differences += compare(program, path, Library(path), texts)
    for name in tokenizer_folders.FOLDERS:
        path = FOLDER / "folders" / name
        differences += compare(program, path, tokenizer_folders.truth(name, path), texts)
    sys.exit(1 if differences else 0)


if __name__ == "__main__":
    main()
