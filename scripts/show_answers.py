#!/usr/bin/env python3
"""Prints the answers of a run beside their questions.

    scripts/show_answers.py INPUT.jsonl OUTPUT.jsonl
"""

import json
import re
import sys
import textwrap


def rows(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def question(prompt):
    """What the user says in a prompt of the <|im_start|> chat form; otherwise the whole prompt."""
    turns = re.findall(r"<\|im_start\|>user\n(.*?)<\|im_end\|>", prompt, re.DOTALL)
    return turns[-1] if turns else prompt


def indented(text):
    return textwrap.indent(text.strip(), "  ")


prompts, results = (rows(path) for path in sys.argv[1:3])
for result in sorted(results, key=lambda row: row["index"]):
    print("> " + question(prompts[result["index"]]["prompt"]))
    if result["finish_reason"] == "error":
        print(indented("error: " + result["error"]["message"]))
    else:
        print(indented(result["text"]) + (" [...]" if result["finish_reason"] == "length" else ""))
    print()
