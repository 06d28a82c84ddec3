#!/usr/bin/env python3
"""Makes the tiny models and the expected results that the tests compare with.

    pip install torch transformers safetensors gguf numpy
    tests/golden/make_golden.py [name ...]
    tests/golden/make_golden.py smollm2=SmolLM2-135M-Instruct.Q4_1.gguf

Every folder beside this file that has an expected.json is one case: a checkpoint of a seeded, untrained
model and what transformers computes with it in float32 with eager attention. The tests only read the
results; run this again after a change of the cases. A given seed gives the same weights on every machine,
logits may differ in the last bits.

rope.json: configurations with every kind of rope scaling and their frequencies.
expected.json:
    vocab_size   number of logits per position
    cases        list of
        token_ids    the prompt
        generated    greedy continuation, EOS ignored
        positions    positions p of prompt + generated whose logits are kept (they predict token p + 1)
        logits       base64 of little-endian float32 [len(positions), vocab_size]

smollm2/expected.json holds the greedy text of a real model, whose file is not kept here: cases of prompt,
token_ids, generated (EOS not among them) and text.

Seeds are tried until no greedy choice is a near tie, the text varies, and no EOS is generated.
A case whose folder holds model.gguf beside the safetensors has the same weights in both.
"""

import base64
import itertools
import json
import os
import pathlib
import shutil
import sys

import gguf
import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).resolve().parent
PROMPT_LENGTHS = (3, 17, 40)
NEW_TOKENS = 24
KEPT_POSITIONS = 8
MIN_GAP = 0.002  # between the best two logits, in units of the logits' standard deviation
MIN_DISTINCT = 8  # different tokens among the generated ones


def randomise(model, seed):
    """Weights large enough that every part of the model matters to the result."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 1 and name.endswith("weight"):
                parameter.copy_(1.0 + 0.2 * noise)
            elif "embed" in name or "wte" in name or "wpe" in name:
                parameter.copy_(0.5 * noise)
            elif name.endswith("bias"):
                parameter.copy_(0.3 * noise)
            else:
                parameter.copy_(0.3 * noise)


def prompts(vocab_size, special):
    generator = torch.Generator().manual_seed(7)
    usable = [i for i in range(vocab_size) if i not in special]
    for length in PROMPT_LENGTHS:
        picks = torch.randint(0, len(usable), (length,), generator=generator)
        yield [usable[i] for i in picks]


def logits_of(model, ids):
    ids = torch.tensor([ids])
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0].float()


def run_case(model, prompt, special):
    """The case's entry in expected.json, or None if it is not fit to be a test."""
    ids = list(prompt)
    for _ in range(NEW_TOKENS):
        last = logits_of(model, ids)[-1]
        best = last.topk(2).values
        if best[0] - best[1] < MIN_GAP * last.std() or int(last.argmax()) in special:
            return None
        ids.append(int(last.argmax()))
    generated = ids[len(prompt):]
    if len(set(generated)) < MIN_DISTINCT:
        return None
    last_prompt, last = len(prompt) - 1, len(ids) - 2
    positions = sorted({0, 1, last_prompt // 2, last_prompt, last_prompt + 1, (last_prompt + last) // 2, last - 1, last})
    kept = logits_of(model, ids)[positions].numpy().astype("<f4")
    return {"token_ids": list(prompt), "generated": generated, "positions": positions,
             "logits": base64.b64encode(kept.tobytes()).decode()}


def expected_of(folder, special):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    vocab_size = model.config.vocab_size
    cases = []
    for prompt in prompts(vocab_size, special):
        cases.append(run_case(model, prompt, special))
        if cases[-1] is None:
            return None
    return {"vocab_size": vocab_size, "cases": cases}


def edit_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content, indent=2) + "\n")


def old_rope(config):
    """The spelling of transformers 4: rope_theta beside rope_scaling."""
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    kind = rope.pop("rope_type")
    if kind != "default":
        config["rope_scaling"] = {("type" if kind == "linear" else "rope_type"): kind, **rope}


def hub_gpt2(folder):
    """As the first GPT-2 checkpoints: no prefix, causal masks among the tensors."""
    path = folder / "model.safetensors"
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in load_file(path).items()}
    config = json.loads((folder / "config.json").read_text())
    size = config["n_positions"]
    for layer in range(config["n_layer"]):
        mask = torch.tril(torch.ones(size, size, dtype=torch.bool)).view(1, 1, size, size)
        tensors[f"h.{layer}.attn.bias"] = mask
    save_file(tensors, path, metadata={"format": "pt"})


def permute(array, heads):
    """Row order of q and k in llama GGUF files: the two halves of each head interleaved."""
    return array.reshape(heads, 2, array.shape[0] // heads // 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)


GGUF_NAMES = {"input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
              "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
              "self_attn.k_norm": "attn_k_norm", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate",
              "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


def gguf_name(name):
    name = name.replace("model.embed_tokens", "token_embd").replace("lm_head", "output").replace("model.norm", "output_norm")
    for long, short in GGUF_NAMES.items():
        name = name.replace(long + ".", short + ".")
    return name.replace("model.layers.", "blk.")


def rope_divisors(config):
    """llama3 scaling as GGUF files carry it: what each frequency is divided by."""
    rotary = transformers.models.llama.modeling_llama.LlamaRotaryEmbedding(config)
    base = config.rope_parameters["rope_theta"]
    plain = 1.0 / (base ** (torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim))
    return (plain / rotary.inv_freq).numpy()


def add_gguf(folder, arch, type_of):
    """Writes model.gguf and stores the values that its blocks stand for back into the safetensors."""
    config = transformers.AutoConfig.from_pretrained(folder)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer = gguf.GGUFWriter(str(folder / "model.gguf"), arch)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(head_dim)
    writer.add_eos_token_id(config.eos_token_id)
    if config.rope_parameters["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(config.rope_parameters["factor"])
    if config.rope_parameters["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", rope_divisors(config).astype(np.float32))
    tensors = load_file(folder / "model.safetensors")
    for name, tensor in tensors.items():
        array = tensor.float().numpy()
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
        heads = heads if arch == "llama" else None
        kind = type_of(name) if array.ndim == 2 else gguf.GGMLQuantizationType.F32
        stored = gguf.quantize(permute(array, heads) if heads else array, kind)
        writer.add_tensor(gguf_name(name), stored, raw_dtype=kind)
        tensors[name] = torch.from_numpy(np.array(gguf.dequantize(gguf.quantize(array, kind), kind)))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def mixed_types(name):
    kinds = gguf.GGMLQuantizationType
    table = {"embed_tokens": kinds.Q8_0, "q_proj": kinds.Q4_1, "k_proj": kinds.Q4_0, "v_proj": kinds.F16, "o_proj": kinds.BF16,
             "gate_proj": kinds.Q4_1, "up_proj": kinds.Q8_0, "down_proj": kinds.Q4_0, "lm_head": kinds.F32}
    return table[name.split(".")[-2]]


def llama(**changes):
    fields = dict(vocab_size=97, hidden_size=32, intermediate_size=72, num_hidden_layers=2, num_attention_heads=4,
                  num_key_value_heads=2, max_position_embeddings=80, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2,
                  pad_token_id=None, rope_parameters={"rope_type": "default", "rope_theta": 10000.0})
    return {**fields, **changes}


def opt(**changes):
    fields = dict(vocab_size=101, hidden_size=40, num_hidden_layers=2, num_attention_heads=2, ffn_dim=90,
                  max_position_embeddings=80, word_embed_proj_dim=40, pad_token_id=1, bos_token_id=2, eos_token_id=2)
    return {**fields, **changes}


LLAMA3_ROPE = {"rope_type": "llama3", "rope_theta": 5000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 32}
YARN_ROPE = {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 4.0, "original_max_position_embeddings": 20, "beta_fast": 4.0}
QWEN = dict(bos_token_id=None, eos_token_id=[3, 5])

# name: (class of the configuration, its fields, storage dtype, what else is done to the folder)
CASES = {
    "gpt2": ("GPT2Config", dict(vocab_size=101, n_positions=80, n_embd=36, n_layer=2, n_head=3, bos_token_id=100, eos_token_id=100),
             "float32", hub_gpt2),
    "gpt2-inner": ("GPT2Config", dict(vocab_size=67, n_positions=80, n_embd=32, n_layer=2, n_head=4, n_inner=70,
                                      activation_function="relu", bos_token_id=66, eos_token_id=66), "float32", None),
    "opt-pre": ("OPTConfig", opt(), "float32", None),
    "opt-post": ("OPTConfig", opt(do_layer_norm_before=False, word_embed_proj_dim=24), "float32", None),
    "llama2": ("LlamaConfig", llama(num_key_value_heads=4), "float32", None),
    "llama3": ("LlamaConfig", llama(hidden_size=48, num_attention_heads=3, num_key_value_heads=1, rope_parameters=LLAMA3_ROPE),
               "float32", "old rope"),
    "mistral": ("MistralConfig", llama(head_dim=12, sliding_window=9), "float32", None),
    "qwen2": ("Qwen2Config", llama(**QWEN, tie_word_embeddings=True), "float32", "old rope"),
    "qwen2-window": ("Qwen2Config", llama(**QWEN, num_hidden_layers=3, use_sliding_window=True, sliding_window=7, max_window_layers=1),
                     "bfloat16", None),
    "qwen3": ("Qwen3Config", llama(**QWEN, head_dim=20, num_key_value_heads=1), "float32", None),
    "smollm": ("LlamaConfig", llama(hidden_size=36, num_attention_heads=3, num_key_value_heads=1, tie_word_embeddings=True),
               "bfloat16", None),
    "llama-linear": ("LlamaConfig", llama(rope_parameters={"rope_type": "linear", "rope_theta": 500.0, "factor": 2.5}), "float16",
                     "old rope"),
    "llama-yarn": ("LlamaConfig", llama(hidden_size=48, num_attention_heads=3, num_key_value_heads=3, rope_parameters=YARN_ROPE),
                   "float16", None),
    "llama-bias": ("LlamaConfig", llama(attention_bias=True, mlp_bias=True, hidden_act="gelu"), "float32", None),
    "llama-sharded": ("LlamaConfig", llama(), "bfloat16", None),
    "llama-bf16": ("LlamaConfig", llama(vocab_size=150, hidden_size=48, num_attention_heads=4, intermediate_size=100), "bfloat16", None),
    "llama-fp16": ("LlamaConfig", llama(intermediate_size=65), "float16", None),
    "llama-gguf": ("LlamaConfig", llama(intermediate_size=96), "float32", ("llama", mixed_types)),
    "llama3-gguf": ("LlamaConfig", llama(num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=True,
                                         rope_parameters=LLAMA3_ROPE),
                    "float32", ("llama", lambda name: gguf.GGMLQuantizationType.F16)),
    "qwen3-gguf": ("Qwen3Config", llama(**{**QWEN, "eos_token_id": 3}, head_dim=16, tie_word_embeddings=True), "float32",
                   ("qwen3", lambda name: gguf.GGMLQuantizationType.Q8_0 if "down" not in name else gguf.GGMLQuantizationType.F16)),
}


def write_checkpoint(folder, name, seed):
    kind, fields, dtype, extra = CASES[name]
    config = getattr(transformers, kind)(**fields)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    randomise(model, seed)
    shutil.rmtree(folder, ignore_errors=True)
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size="30KB" if name == "llama-sharded" else "1GB")
    if extra == "old rope":
        edit_json(folder / "config.json", old_rope)
    elif isinstance(extra, tuple):
        add_gguf(folder, *extra)
    elif extra:
        extra(folder)


def rope_case(old_spelling, **rope):
    """A configuration and the frequencies that transformers computes from it."""
    fields = llama(hidden_size=96, num_attention_heads=2, max_position_embeddings=4096, rope_parameters=dict(rope))
    config = transformers.LlamaConfig(**fields)
    rotary = transformers.models.llama.modeling_llama.LlamaRotaryEmbedding(config)
    written = json.loads(config.to_json_string(use_diff=False))
    written = {key: written[key] for key in ("model_type", *fields) if written[key] is not None}
    if old_spelling:
        old_rope(written)
    return {"config": written, "inverse_frequencies": rotary.inv_freq.tolist(), "attention_factor": rotary.attention_scaling}


def make_rope():
    """rope.json: every kind of scaling, computed without a model."""
    yarn = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 1024}
    cases = [rope_case(old, **settings) for old in (False, True) for settings in (
        {"rope_type": "default", "rope_theta": 5e5}, {"rope_type": "linear", "rope_theta": 1e4, "factor": 3.0},
        {"rope_type": "llama3", "rope_theta": 5e5, "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
         "original_max_position_embeddings": 2048},
        yarn, {**yarn, "beta_fast": 16, "beta_slow": 2, "truncate": False}, {**yarn, "attention_factor": 0.75},
        {**yarn, "mscale": 0.7, "mscale_all_dim": 1.1}, {**yarn, "factor": None})]
    (HERE / "rope.json").write_text(json.dumps(cases, indent=1) + "\n")


SMOLLM2_PROMPT = ("<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
                  "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n")
SMOLLM2_QUESTIONS = ("What is the capital of France?", "Name three primary colours.",
                     "Write a Python function that adds two numbers.",
                     "A shop sells apples at 2 dollars a kilogram and pears at 3 dollars a kilogram. A customer buys "
                     "4 kilograms of apples and 5 kilograms of pears. List what he pays for each fruit, then the sum.")
SMOLLM2_NEW_TOKENS = 40


def hf_name(name):
    """The inverse of gguf_name."""
    if not name.startswith("blk."):
        return name.replace("token_embd", "model.embed_tokens").replace("output_norm", "model.norm")
    _, layer, part, kind = name.split(".")
    return f"model.layers.{layer}.{next(long for long, short in GGUF_NAMES.items() if short == part)}.{kind}"


def model_of_gguf(path):
    """A llama GGUF file as a transformers model, blocks expanded to float32."""
    reader = gguf.GGUFReader(path)
    def field(name):
        return reader.fields[f"llama.{name}"].contents()
    config = transformers.LlamaConfig(
        vocab_size=field("vocab_size"), hidden_size=field("embedding_length"), intermediate_size=field("feed_forward_length"),
        num_hidden_layers=field("block_count"), num_attention_heads=field("attention.head_count"),
        num_key_value_heads=field("attention.head_count_kv"), max_position_embeddings=field("context_length"),
        rms_norm_eps=1e-5, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": field("rope.freq_base")})
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    state = {}
    for tensor in reader.tensors:
        array = gguf.dequantize(tensor.data, tensor.tensor_type)
        count = heads.get(tensor.name.split(".")[-2])
        if count:
            array = array.reshape(count, array.shape[0] // count // 2, 2, -1).swapaxes(1, 2).reshape(array.shape)
        state[hf_name(tensor.name)] = torch.from_numpy(np.array(array, dtype=np.float32))
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    model.load_state_dict(state, strict=False)
    model.tie_weights()
    return model.eval()


def greedy(model, ids, eos):
    """Up to SMOLLM2_NEW_TOKENS tokens, and the smallest gap between the best two logits on the way."""
    generated, cache, gap = [], None, float("inf")
    step = torch.tensor([ids])
    with torch.no_grad():
        while len(generated) < SMOLLM2_NEW_TOKENS:
            result = model(input_ids=step, past_key_values=cache, use_cache=True)
            cache = result.past_key_values
            best = result.logits[0, -1].topk(2)
            gap = min(gap, float(best.values[0] - best.values[1]))
            if int(best.indices[0]) == eos:
                break
            generated.append(int(best.indices[0]))
            step = torch.tensor([[generated[-1]]])
    return generated, gap


def make_smollm2(path):
    model = model_of_gguf(path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(os.path.dirname(path), gguf_file=os.path.basename(path))
    eos = tokenizer.convert_tokens_to_ids("<|im_end|>")
    cases = []
    for question in SMOLLM2_QUESTIONS:
        prompt = SMOLLM2_PROMPT.format(question)
        ids = tokenizer(prompt, add_special_tokens=False).input_ids
        generated, gap = greedy(model, ids, eos)
        text = tokenizer.decode(generated, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        cases.append({"prompt": prompt, "token_ids": ids, "generated": generated, "text": text})
        print(f"smollm2: {len(ids)} + {len(generated)} tokens, smallest gap {gap:.4f}: {text!r}")
    (HERE / "smollm2").mkdir(exist_ok=True)
    (HERE / "smollm2" / "expected.json").write_text(json.dumps({"max_new_tokens": SMOLLM2_NEW_TOKENS, "cases": cases}, indent=1) + "\n")


def eos_of(fields):
    eos = fields["eos_token_id"]
    return eos if isinstance(eos, list) else [eos]


def make(name):
    folder = HERE / name
    fields = CASES[name][1]
    special = {*eos_of(fields), fields.get("pad_token_id")} - {None}
    for seed in itertools.count(1):
        write_checkpoint(folder, name, seed)
        expected = expected_of(folder, special)
        if expected:
            break
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")
    print(f"{name}: seed {seed}, {sum(f.stat().st_size for f in folder.iterdir())} bytes")


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    make_rope()
    for case in sys.argv[1:] or CASES:
        if case.startswith("smollm2="):
            make_smollm2(case.removeprefix("smollm2="))
        elif case != "rope":
            make(case)
