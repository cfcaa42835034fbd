"""How checkpoints of GPT-2 and Llama name and store the weights of a `GPT`, and the fields of their config.json.

The same weights have different names and layouts there: GPT-2 stores the weights of its linear layers transposed
(in, out); Llama has queries, keys and values in three layers, and the two halves of SwiGLU in two.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chainrule.errors import RunError, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from chainrule.models.transformer import GPTConfig


@dataclass(frozen=True)
class Layout:
    """How the checkpoints of a family of models name and store the parts of a `GPT`.

    Attributes:
        model_type: the family's name in config.json.
        architecture: the name of the class in the package `transformers`.
        prefix: the prefix of all names except the output layer's.
        outside: the names of the layers outside the blocks, by their names in `GPT`.
        blocks: the first part of a block's name, before its number.
        inside: the names of a block's layers, by their names in `GPT`; the weights of several layers are concatenated
            in this order.
        transposed: whether the weights of linear layers are stored as (in, out).
        options: the fields of `GPTConfig` that are the same in all models of the family.
        fields: by field of `GPTConfig`, the name and the default of the field of config.json.
        required: the allowed values of other fields of config.json; the first is the default.
        read_more: reads further options of `GPTConfig` from a config.json, given its path and contents.
        write_more: returns further fields of config.json.
    """

    model_type: str
    architecture: str
    prefix: str
    outside: dict[str, str]
    blocks: str
    inside: dict[str, tuple[str, ...]]
    transposed: bool
    options: dict[str, Any]
    fields: dict[str, tuple[str, Any]]
    required: dict[str, tuple[Any, ...]]
    read_more: Callable[[Path, Mapping[str, Any]], dict[str, Any]] = lambda path, document: {}
    write_more: Callable[[GPTConfig], dict[str, Any]] = lambda config: {}


def require(path: Path, name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """Check the value of a field of config.json.

    Raises:
        RunError: the value is not one of the allowed ones.
    """
    if not any(type(value) is type(other) and value == other for other in allowed):
        values = " or ".join(json.dumps(other) for other in allowed)
        raise RunError(f"{path}: {name} is {shorten(json.dumps(value))}, but a GPT can only have {values}")


def _read_llama(path: Path, document: Mapping[str, Any]) -> dict[str, Any]:
    """Check the fields for variants that `GPT` does not have, and return the base of the rotary frequencies.

    Newer versions of `transformers` store the base together with the scaling, in rope_parameters.
    """
    require(path, "mlp_bias", document.get("mlp_bias", False), (document.get("attention_bias", False),))
    require(path, "rope_scaling", document.get("rope_scaling"), (None,))
    rope = document.get("rope_parameters")
    rope = {} if rope is None else rope
    if not isinstance(rope, dict):
        raise RunError(f"{path}: rope_parameters is {shorten(json.dumps(rope))}, not an object")
    for name in ("rope_type", "type"):  # the second in older files
        require(path, f"rope_parameters.{name}", rope.get(name, "default"), ("default",))
    factor = rope.get("partial_rotary_factor", document.get("partial_rotary_factor", 1.0))
    require(path, "partial_rotary_factor", factor, (1.0, 1))
    heads, width = document.get("num_attention_heads"), document.get("hidden_size")
    if document.get("head_dim") is not None and isinstance(heads, int) and isinstance(width, int) and heads > 0:
        require(path, "head_dim", document["head_dim"], (width // heads,))
    return {"rope_theta": rope.get("rope_theta", document.get("rope_theta", 10_000.0))}


def _write_llama(config: GPTConfig) -> dict[str, Any]:
    return {
        "head_dim": config.head_size,
        "mlp_bias": config.bias,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "rope_theta": config.rope_theta,  # where transformers 4 looks for it
    }


GPT2 = Layout(
    model_type="gpt2",
    architecture="GPT2LMHeadModel",
    prefix="transformer.",
    outside={"token_embedding": "wte", "position_embedding": "wpe", "norm": "ln_f"},
    blocks="h",
    inside={
        "norm1": ("ln_1",),
        "attention.qkv": ("attn.c_attn",),
        "attention.projection": ("attn.c_proj",),
        "norm2": ("ln_2",),
        "feed_forward.up": ("mlp.c_fc",),
        "feed_forward.projection": ("mlp.c_proj",),
    },
    transposed=True,
    options={"rms_norm": False, "rotary": False, "swiglu": False, "bias": True},
    fields={
        "vocab_size": ("vocab_size", 50257),
        "block_size": ("n_positions", 1024),
        "layers": ("n_layer", 12),
        "heads": ("n_head", 12),
        "width": ("n_embd", 768),
        "hidden": ("n_inner", None),
        "tied": ("tie_word_embeddings", True),
        "norm_eps": ("layer_norm_epsilon", 1e-5),
    },
    required={
        "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "add_cross_attention": (False,),
    },
)
LLAMA = Layout(
    model_type="llama",
    architecture="LlamaForCausalLM",
    prefix="model.",
    outside={"token_embedding": "embed_tokens", "norm": "norm"},
    blocks="layers",
    inside={
        "norm1": ("input_layernorm",),
        "attention.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "attention.projection": ("self_attn.o_proj",),
        "norm2": ("post_attention_layernorm",),
        "feed_forward.gate_up": ("mlp.gate_proj", "mlp.up_proj"),
        "feed_forward.projection": ("mlp.down_proj",),
    },
    transposed=False,
    options={"rms_norm": True, "rotary": True, "swiglu": True},
    fields={
        "vocab_size": ("vocab_size", 32000),
        "block_size": ("max_position_embeddings", 2048),
        "layers": ("num_hidden_layers", 32),
        "heads": ("num_attention_heads", 32),
        "kv_heads": ("num_key_value_heads", None),
        "width": ("hidden_size", 4096),
        "hidden": ("intermediate_size", 11008),
        "bias": ("attention_bias", False),
        "tied": ("tie_word_embeddings", False),
        "norm_eps": ("rms_norm_eps", 1e-6),
    },
    required={"hidden_act": ("silu", "swish"), "pretraining_tp": (1,)},
    read_more=_read_llama,
    write_more=_write_llama,
)
LAYOUTS = {layout.model_type: layout for layout in (GPT2, LLAMA)}
