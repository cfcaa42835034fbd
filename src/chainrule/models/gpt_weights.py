"""Checkpoints of GPT-2 and Llama in the Hugging Face format: `model.safetensors` beside `config.json`, in a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import RunError, join_names, shorten
from chainrule.files import atomic_write, open_regular
from chainrule.models.gpt import GPT
from chainrule.models.gpt_layouts import LAYOUTS, Layout, require
from chainrule.models.transformer import GPTConfig
from chainrule.nn.init import skip_init
from chainrule.safetensors_io import load_with_note, save

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

    from numpy.random import Generator
    from numpy.typing import NDArray

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"

IGNORED = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")
"""Suffixes of tensors in old checkpoints that follow from the sizes: causal masks and rotary frequencies."""

MAX_POSITIONS = 1 << 20
"""Limit on the context of a checkpoint: a wrong config.json must not allocate gigabytes for the rotary angles."""


def from_pretrained(folder: str | os.PathLike[str], *, dropout: float = 0.0, generator: Generator | None = None) -> GPT:
    """Read a model that `save_pretrained` wrote, here or in the package `transformers`, for GPT-2 or Llama.

    Args:
        folder: holds config.json and model.safetensors.
        dropout: the probability of dropout in further training; the one in config.json is not used.
        generator: source of dropout.

    Returns:
        The model in eval mode, in float64 if all weights are, else in float32.

    Raises:
        RunError: a file is missing or damaged; config.json describes another architecture, or a variant that `GPT` does
            not have, such as scaled rotary positions; or the weights do not fit it. The message names each of them.

        import chainrule

        model = chainrule.models.build("gpt", {"size": "tiny", "variant": "llama"})
        chainrule.models.save_pretrained(model, "tiny-llama")
        chainrule.models.from_pretrained("tiny-llama").config == model.config  # True
    """
    folder = Path(folder)
    layout, config = _read_config(folder / CONFIG_FILE, dropout)
    weights_file = folder / WEIGHTS_FILE
    if not weights_file.exists() and (folder / f"{WEIGHTS_FILE}.index.json").exists():
        raise RunError(f"{folder}: its weights are in several files; save them in one, with max_shard_size='100GB'")
    arrays = _with_prefix(layout, load_with_note(weights_file)[0])
    if config.layers > len(arrays):
        raise RunError(
            f"{weights_file}: has {len(arrays)} tensors, too few for {config.layers} layers in {CONFIG_FILE}"
        )
    try:
        with skip_init():
            model = GPT(config, generator=generator)
    except (MemoryError, ValueError):  # ValueError: NumPy refuses arrays that are too large to address
        raise RunError(f"{folder / CONFIG_FILE}: the model would not fit into memory") from None
    if {array.dtype for array in arrays.values()} == {np.dtype(np.float64)}:
        model.double()
    if config.tied and "lm_head.weight" in arrays:
        head, embedding = arrays.pop("lm_head.weight"), f"{layout.prefix}{layout.outside['token_embedding']}.weight"
        if not np.array_equal(head, arrays.get(embedding, head)):
            raise RunError(f"{weights_file}: lm_head.weight is not {embedding}, but tie_word_embeddings is true")
    views = dict(_views(layout, model))
    faults = [f"missing: {name} {view.shape}" for name, view in views.items() if name not in arrays]
    faults += [f"unexpected: {name} {array.shape}" for name, array in arrays.items() if name not in views]
    faults += [
        f"wrong shape: {name} is {arrays[name].shape}, must be {view.shape}"
        for name, view in views.items()
        if name in arrays and arrays[name].shape != view.shape
    ]
    faults += [f"wrong type: {name} is {array.dtype}" for name, array in arrays.items() if array.dtype.kind != "f"]
    if faults:
        raise RunError(f"{weights_file}: the weights do not fit {CONFIG_FILE}: {join_names(faults, '; ')}")
    for name, view in views.items():
        view[...] = arrays[name]
    return model.eval()


def save_pretrained(model: GPT, folder: str | os.PathLike[str]) -> None:
    """Write a GPT as a checkpoint for `GPT2LMHeadModel` or `LlamaForCausalLM` of the package `transformers`.

    Args:
        model: the model.
        folder: where to write config.json and model.safetensors; created if it is missing.

    Raises:
        RunError: the model's variant is neither that of GPT-2 nor that of Llama.
        OSError: a file cannot be written.
    """
    config = model.config
    layout = next((layout for layout in LAYOUTS.values() if _has_options(layout, config)), None)
    if layout is None:
        flags = ", ".join(f"{name}={getattr(config, name)}" for name in ("rms_norm", "rotary", "swiglu", "bias"))
        raise RunError(f"save_pretrained: neither GPT-2 nor Llama is a model with {flags}, kv_heads={config.kv_heads}")
    views = dict(_views(layout, model))
    dtype = model.token_embedding.weight.dtype.name
    document = {name: getattr(config, ours) for ours, (name, _) in layout.fields.items()}
    document |= {name: values[0] for name, values in layout.required.items()}
    document |= {"architectures": [layout.architecture], "model_type": layout.model_type, "dtype": dtype}
    document |= layout.write_more(config)
    Path(folder).mkdir(parents=True, exist_ok=True)
    save(views, Path(folder) / WEIGHTS_FILE, file_format="pt")
    with atomic_write(Path(folder) / CONFIG_FILE) as file:
        file.write(json.dumps(document, indent=2, sort_keys=True).encode() + b"\n")


def _has_options(layout: Layout, config: GPTConfig) -> bool:
    """Return whether a config is that of a model of this family."""
    grouped = config.kv_heads != config.heads and "kv_heads" not in layout.fields
    return not grouped and all(getattr(config, name) == value for name, value in layout.options.items())


def _views(layout: Layout, model: GPT) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the name of each tensor of the checkpoint, and a view in its layout of (part of) the model's parameter."""
    config = model.config
    queries = config.heads * config.head_size
    splits = {
        "attention.qkv": [queries, queries + config.kv_heads * config.head_size],
        "feed_forward.gate_up": [config.hidden],
    }
    for name, tensor in model.state_dict().items():
        path, _, kind = name.rpartition(".")
        values = tensor.numpy()
        if path == "head":
            yield f"lm_head.{kind}", values
        elif path in layout.outside:
            yield f"{layout.prefix}{layout.outside[path]}.{kind}", values
        else:
            _, number, layer = path.split(".", 2)  # blocks.0.attention.qkv
            names = layout.inside[layer]
            parts = np.split(values, splits[layer]) if len(names) > 1 else [values]
            for theirs, part in zip(names, parts, strict=True):
                view = part.T if layout.transposed and part.ndim == 2 else part
                yield f"{layout.prefix}{layout.blocks}.{number}.{theirs}.{kind}", view


def _with_prefix(layout: Layout, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the arrays under the names of `_views`: with the prefix, and without those that are `IGNORED`."""
    has_prefix = any(name.startswith(layout.prefix) for name in arrays)
    return {
        name if has_prefix or name.startswith("lm_head.") else f"{layout.prefix}{name}": array
        for name, array in arrays.items()
        if not name.endswith(IGNORED)
    }


def _read_config(path: Path, dropout: float) -> tuple[Layout, GPTConfig]:
    """Read config.json: the family of the model, and its sizes."""
    try:
        with open_regular(path) as file:
            document = json.loads(file.read().decode())
    except FileNotFoundError:
        raise RunError(f"{path}: no such file") from None
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise RunError(f"{path}: is not a JSON object")
    layout = LAYOUTS.get(str(document.get("model_type")))
    if layout is None:
        names = " and ".join(LAYOUTS)
        raise RunError(f"{path}: model_type is {shorten(repr(document.get('model_type')))}; only {names} can be read")
    for name, allowed in layout.required.items():
        require(path, name, document.get(name, allowed[0]), allowed)
    options = {ours: document.get(name, default) for ours, (name, default) in layout.fields.items()}
    for name in {"tied", "bias"} & options.keys():
        require(path, layout.fields[name][0], options[name], (True, False))
    options = {
        name: value for name, value in options.items() if value is not None or layout.fields[name][1] is not None
    }
    try:
        config = GPTConfig(**options, **layout.options, **layout.read_more(path, document), dropout=dropout)
    except (ValueError, TypeError) as error:
        raise error if isinstance(error, RunError) else RunError(f"{path}: {error}") from None
    if config.block_size > MAX_POSITIONS:
        raise RunError(f"{path}: a context of {config.block_size:,} tokens is more than the limit of {MAX_POSITIONS:,}")
    return layout, config
