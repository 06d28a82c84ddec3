#!/usr/bin/env python3
"""Makes the files of tests/golden/checkpoints: small checkpoints in other formats than safetensors of plain numbers.

    pip install torch safetensors gguf numpy
    tests/golden/make_checkpoint_golden.py

blocks/     model.gguf with a tensor of every type of blocks that GGUF files have and the reader knows, random bits
            but for the scales; model.safetensors with the values that the gguf package finds in them
torch/      what torch.save() writes. single.bin: the model of ../smollm with its tied head and the rotary frequencies
            of old versions; shard-*.bin: the same in two parts, to be used with index.json; views.bin: views and
            parameters, plain.safetensors: the same as plain tensors; the others are to be refused
fp8/        model.safetensors with fp8 weights and scales of three kinds; plain.safetensors: their values
"""

import json
import os
import pathlib
import zipfile
from collections import OrderedDict

import gguf
import numpy as np
import torch
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).resolve().parent
FOLDER = HERE / "checkpoints"
KINDS = gguf.GGMLQuantizationType
ROWS, COLS = 2, 256
gguf.GGML_QUANT_SIZES[KINDS.Q8_1] = (32, 2 + 2 + 32)  # as in ggml; the package has an older form

# Bytes before which scales of fp16 stand in a block: these must be ordinary numbers.
HALF_SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q8_1": [0, 2], "Q2_K": [80, 82],
               "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "Q8_K": [], "IQ4_NL": [0], "IQ4_XS": [0]}


def random_blocks(kind, random):
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (ROWS * COLS // elements, size), dtype=np.uint8)
    for offset in HALF_SCALES[kind.name]:
        blocks[:, offset:offset + 2] = random.normal(0, 0.05, (len(blocks), 1)).astype(np.float16).view(np.uint8)
    if kind.name == "Q8_K":
        blocks[:, :4] = random.normal(0, 0.05, (len(blocks), 1)).astype(np.float32).view(np.uint8)
    return blocks


def values_of(kind, blocks):
    if kind.name == "Q8_1":  # fp16 scale, fp16 sum, 32 bytes
        scales, numbers = blocks[:, :2].copy().view(np.float16).astype(np.float32), blocks[:, 4:]
    elif kind.name == "Q8_K":  # fp32 scale, 256 bytes, 16 sums
        scales, numbers = blocks[:, :4].copy().view(np.float32), blocks[:, 4:260]
    else:
        return gguf.dequantize(blocks.reshape(ROWS, -1), kind)
    return (scales * numbers.copy().view(np.int8).astype(np.float32)).reshape(ROWS, COLS)


def make_blocks():
    random = np.random.default_rng(1)
    folder = FOLDER / "blocks"
    folder.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(str(folder / "model.gguf"), "qwen2")
    for add in (writer.add_context_length, writer.add_embedding_length, writer.add_block_count,
                writer.add_feed_forward_length, writer.add_head_count):
        add(1)
    writer.add_layer_norm_rms_eps(1e-6)
    values = {"model.embed_tokens.weight": np.zeros((1, 1), np.float32)}
    writer.add_tensor("token_embd.weight", values["model.embed_tokens.weight"])
    for name in HALF_SCALES:
        kind = getattr(KINDS, name)
        blocks = random_blocks(kind, random)
        writer.add_tensor(name, blocks.reshape(ROWS, -1), raw_dtype=kind)
        values[name] = values_of(kind, blocks)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file({name: torch.from_numpy(np.array(array)) for name, array in values.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text("{}\n")


class Command:
    """Runs a command where a pickle of it is loaded."""

    def __reduce__(self):
        return os.system, ("touch executed",)


def make_torch():
    folder = FOLDER / "torch"
    folder.mkdir(parents=True, exist_ok=True)
    model = OrderedDict(load_file(HERE / "smollm" / "model.safetensors"))
    model["lm_head.weight"] = model["model.embed_tokens.weight"]
    for layer in range(2):
        model[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = torch.ones(6)
    model._metadata = OrderedDict([("", {"version": 1})])
    torch.save(model, folder / "single.bin")
    shards = [OrderedDict(), OrderedDict()]
    for name, tensor in model.items():
        shards["layers.1." in name][name] = tensor.clone()
    index = {"metadata": {}, "weight_map": {}}
    for number, shard in enumerate(shards, 1):
        file = f"pytorch_model-{number:05}-of-00002.bin"
        torch.save(shard, folder / file.replace("pytorch_model", "shard"))
        index["weight_map"].update({name: file for name in shard})
    (folder / "index.json").write_text(json.dumps(index, indent=1) + "\n")

    base = torch.arange(24, dtype=torch.float32)
    views = {"whole": base, "rows": base.view(6, 4)[2:5], "transposed": base.view(6, 4).t(), "shifted": base[4:16].view(4, 3).t(),
             "column": base.view(24, 1), "parameter": torch.nn.Parameter(base.view(2, 3, 4).half()), "scalar": torch.tensor(2.5),
             "empty": torch.zeros(0, 3), "transposed.bf16": base.view(3, 8).bfloat16().t()}
    torch.save(views, folder / "views.bin", pickle_protocol=4)
    save_file({name: tensor.detach().contiguous().clone() for name, tensor in views.items()}, folder / "plain.safetensors")

    torch.save({"w": base.view(4, 6)[:, 1:3]}, folder / "strided.bin")
    torch.save({"w": base, "step": 3}, folder / "number.bin")
    torch.save({"w": base.double()}, folder / "double.bin")
    torch.save({"w": base, "x": Command()}, folder / "command.bin")
    torch.save([base], folder / "list.bin")
    torch.save({"w": base}, folder / "legacy.bin", _use_new_zipfile_serialization=False)
    with zipfile.ZipFile(folder / "double.bin") as source, \
            zipfile.ZipFile(folder / "compressed.bin", "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(zipfile.ZipInfo(name), source.read(name), zipfile.ZIP_DEFLATED)


def make_fp8():
    folder = FOLDER / "fp8"
    folder.mkdir(parents=True, exist_ok=True)
    codes = torch.arange(256, dtype=torch.uint8)
    codes = codes[(codes & 0x7F) != 0x7F]  # NaN, which equals nothing
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(40, 70, generator=generator).to(torch.float8_e4m3fn)
    scales = torch.rand(3, 3, generator=generator) + 0.5  # blocks of 16 x 32
    wide = scales.repeat_interleave(16, 0)[:40].repeat_interleave(32, 1)[:, :70]
    save_file({"block.weight": weight, "block.weight_scale_inv": scales, "norm.weight": torch.ones(4)},
              folder / "block.safetensors")
    all4, all5 = codes.view(torch.float8_e4m3fn).view(2, 127), codes[codes & 0x7F < 0x7C].view(torch.float8_e5m2).view(8, 31)
    rows = torch.tensor([[0.5], [3.0]])
    save_file({"all.weight": all4, "all.weight_scale": torch.tensor(0.3), "all.input_scale": torch.tensor(1.0),
               "e5m2.weight": all5, "e5m2.weight_scale": torch.tensor([1.7], dtype=torch.bfloat16),
               "rows.weight": all4.clone(), "rows.weight_scale": rows}, folder / "tensor.safetensors")
    save_file({"block.weight": weight.float() * wide, "norm.weight": torch.ones(4), "all.weight": all4.float() * 0.3,
               "e5m2.weight": all5.float() * torch.tensor(1.7, dtype=torch.bfloat16).float(), "rows.weight": all4.float() * rows},
              folder / "plain.safetensors")


if __name__ == "__main__":
    make_blocks()
    make_torch()
    make_fp8()
    print(sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()), "bytes")
