#!/usr/bin/env python3
"""Runs jobs that differ in dtype, rows, placement, KV tier and model, each after its plan, and prints
the tokens per second that the plan predicted beside those that the run had.

  bench/plan_accuracy.py [--zerostream build/zerostream] [--folder DIR] [--only NAME]

Stores of random weights are packed into --folder once. Each job is planned twice, before and after it
ran, each time with the machine measured anew, because the rates of a shared one change from minute to
minute; the prediction is the mean of the two.
"""
import argparse
import json
import os
import pathlib
import random
import subprocess
import tempfile

SHAPE = "configs/bench/mistral-4-layers"
SMOL = "models/SmolLM2-135M-Instruct.Q4_1.gguf"

# Prompt and new tokens are ranges that rows are drawn from.
CASES = [
    dict(name="bf16, all streamed", model=SHAPE, pack="bf16", rows=64, prompt=(32, 32), new=(32, 32),
         set=["weights.placement=nvme", "host.memory=900MiB"]),
    dict(name="bf16, KV on storage", model=SHAPE, pack="bf16", rows=48, prompt=(8, 256), new=(8, 128),
         set=["kv_cache.placement=nvme", "host.memory=1400MiB", "batch.token_budget=512",
              "batch.max_sequences=48"]),
    dict(name="int8, few rows", model=SHAPE, pack="int8", rows=8, prompt=(32, 32), new=(64, 64),
         set=["host.memory=700MiB"]),
    dict(name="int4, in memory", model=SHAPE, pack="int4", rows=32, prompt=(64, 64), new=(64, 64),
         set=["weights.placement=host", "host.memory=3GiB"]),
    dict(name="SmolLM2, fp32, half streamed", model=SMOL, pack=None, rows=24, prompt=(16, 64),
         new=(32, 64), set=["host.memory=512MiB", "weights.dtype=fp32"]),
    dict(name="bf16, one row", model=SHAPE, pack="bf16", rows=1, prompt=(128, 128), new=(64, 64),
         set=["host.memory=1200MiB"]),
]


def call(*words, cache=None):
    environment = os.environ | ({"XDG_CACHE_HOME": str(cache)} if cache else {})
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


def store_of(case, options):
    if case["pack"] is None:
        return case["model"]
    store = options.folder / f"{pathlib.Path(case['model']).name}-{case['pack']}"
    if not (store / "COMPLETE").exists():
        words = ["--dtype", case["pack"], "--dummy-weights"]
        if case["pack"].startswith("int"):
            words += ["--group-size", "128"]
        call(options.zerostream, "pack", case["model"], "-o", store, *words)
    return store


def write_rows(case, path):
    drawn = random.Random(5)
    with path.open("w") as rows:
        for _ in range(case["rows"]):
            tokens = [drawn.randrange(3, 30000) for _ in range(drawn.randint(*case["prompt"]))]
            rows.write(json.dumps({"prompt_token_ids": tokens,
                                   "max_new_tokens": drawn.randint(*case["new"])}) + "\n")


def predicted_seconds(flags, options):
    with tempfile.TemporaryDirectory(dir=options.folder) as cache:  # of what is known of the machine
        plan = json.loads(call(options.zerostream, "plan", *flags, "--json", cache=cache))
    return plan["predicted"]["seconds"]


def measure(case, options):
    rows, output = options.folder / "rows.jsonl", options.folder / "out.jsonl"
    write_rows(case, rows)
    for old in options.folder.glob("out.*"):
        old.unlink()
    settings = [f"model.path={store_of(case, options)}", f"job.input={rows}", f"job.output={output}",
                "sampling.ignore_eos=true", *case["set"]]
    flags = [word for setting in settings for word in ("--set", setting)]
    before = predicted_seconds(flags, options)
    call(options.zerostream, "run", *flags, "--quiet")
    after = predicted_seconds(flags, options)
    report = json.loads((options.folder / "out.report.json").read_text())
    tokens = report["tokens"]["generated"]
    return 2 * tokens / (before + after), tokens / (report["seconds"]["prefill"] + report["seconds"]["decode"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zerostream", default="build/zerostream")
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("/tmp/plan_accuracy"))
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    print(f"{'':30} {'predicted':>10} {'measured':>10}  ratio")
    for case in CASES:
        if options.only not in case["name"]:
            continue
        predicted, measured = measure(case, options)
        print(f"{case['name']:30} {predicted:10.2f} {measured:10.2f}  {predicted / measured:.2f}", flush=True)


if __name__ == "__main__":
    main()
