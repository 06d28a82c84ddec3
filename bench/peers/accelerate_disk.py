#!/usr/bin/env python3
"""Decode passes of transformers with accelerate's disk offload, for comparison with stream_bench.

  accelerate_disk.py CONFIG_FOLDER CHECKPOINT_FOLDER [--memory 6] [--rows 1 32 128] [--passes 4]

Needs torch, transformers, accelerate and safetensors, and root for the memory cgroup (v1 or v2). A
checkpoint of random bf16 weights of the shape in CONFIG_FOLDER is written into CHECKPOINT_FOLDER
once. Keys and values of the prompt (32 tokens) are random: a pass does the same work. The first pass
is left out.
"""
import argparse
import json
import os
import pathlib
import statistics
import time

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache

PROMPT_TOKENS = 32


def write_checkpoint(config_folder, folder):
    """One shard for each layer, as from_pretrained() wants them."""
    if (folder / "model.safetensors.index.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    config = AutoConfig.from_pretrained(config_folder)
    config.save_pretrained(folder)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in AutoModelForCausalLM.from_config(config).state_dict().items()}
    shards = {}
    for name in shapes:
        words = name.split(".")
        shards.setdefault(words[2] if words[1] == "layers" else "rest", []).append(name)
    weight_map = {}
    for shard, names in shards.items():
        file = f"model-{shard}.safetensors"
        save_file({name: torch.randn(shapes[name], dtype=torch.bfloat16) * 0.02 for name in names},
                  folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(names, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def limit_memory(gibibytes):
    root = pathlib.Path("/sys/fs/cgroup")
    v2 = (root / "cgroup.controllers").exists()
    group = (root if v2 else root / "memory") / f"peer-{os.getpid()}"
    group.mkdir()
    (group / ("memory.max" if v2 else "memory.limit_in_bytes")).write_text(str(int(gibibytes * 2**30)))
    (group / "cgroup.procs").write_text(str(os.getpid()))


def drop_cache(folder):
    for file in filter(pathlib.Path.is_file, folder.rglob("*")):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def random_cache(config, rows):
    cache = DynamicCache()
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    shape = (rows, config.num_key_value_heads, PROMPT_TOKENS, head_dim)
    for layer in range(config.num_hidden_layers):
        cache.update(torch.randn(shape, dtype=torch.bfloat16), torch.randn(shape, dtype=torch.bfloat16), layer)
    return cache


def pass_seconds(model, rows, passes):
    cache = random_cache(model.config, rows)
    tokens = torch.randint(3, model.config.vocab_size, (rows, 1))
    seconds = []
    with torch.no_grad():
        for _ in range(passes + 1):
            begin = time.perf_counter()
            tokens = model(tokens, past_key_values=cache, use_cache=True).logits[:, -1:].argmax(-1)
            seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config_folder", type=pathlib.Path)
    parser.add_argument("checkpoint_folder", type=pathlib.Path)
    parser.add_argument("--memory", type=float, default=6, help="GiB, page cache counted")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 32, 128])
    parser.add_argument("--passes", type=int, default=4)
    options = parser.parse_args()
    write_checkpoint(options.config_folder, options.checkpoint_folder)
    drop_cache(options.checkpoint_folder)
    limit_memory(options.memory)
    model = AutoModelForCausalLM.from_pretrained(
        options.checkpoint_folder, dtype=torch.bfloat16, device_map="auto",
        max_memory={"cpu": f"{options.memory / 3:.1f}GiB"}, offload_folder=options.checkpoint_folder / "offload")
    for rows in options.rows:
        seconds = pass_seconds(model, rows, options.passes)
        print(f"{rows:4} rows: {seconds:6.2f} s a pass, {rows / seconds:6.2f} tokens/s", flush=True)


if __name__ == "__main__":
    main()
