"""Checkpoints of GPT-2 and Llama: the same logits and gradients as in the package transformers, in both directions."""

from __future__ import annotations

import json

import numpy as np
import pytest

import chainrule
from chainrule import models, no_grad, weights
from chainrule.errors import RunError
from chainrule.models import GPT, GPTConfig, from_pretrained, save_pretrained
from chainrule.text import Sampler, generate

SIZES = {"vocab_size": 31, "block_size": 16, "layers": 2, "heads": 4, "width": 24, "hidden": 40}
LLAMA = {"rms_norm": True, "rotary": True, "swiglu": True, "bias": False, "norm_eps": 1e-6}
OURS = {
    "gpt2": {"norm_eps": 1e-3},
    "gpt2, untied": {"tied": False},
    "llama": {**LLAMA, "tied": False},
    "llama, grouped heads, tied": {**LLAMA, "kv_heads": 2, "norm_eps": 1e-4, "rope_theta": 500.0},
    "llama with biases": {**LLAMA, "bias": True, "kv_heads": 1},
}
BOTH = pytest.mark.parametrize("changes", OURS.values(), ids=OURS)
TOKENS = np.random.default_rng(4).integers(0, 31, (3, 16))


@pytest.fixture(scope="module")
def transformers():
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'chainrule[torch]'")
    module = pytest.importorskip("transformers", reason="transformers is not installed: pip install 'chainrule[torch]'")
    module.utils.logging.set_verbosity_error()
    module.utils.logging.disable_progress_bar()
    return module


@pytest.fixture
def torch(transformers):
    import torch

    torch.manual_seed(0)
    return torch


def ours(seed=0, **changes):
    """A model all of whose weights differ from each other and from 0 and 1."""
    model = GPT(GPTConfig(**{**SIZES, **changes}), generator=np.random.default_rng(seed))
    with no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter += chainrule.from_numpy(
                np.random.default_rng(i).normal(0, 0.1, parameter.shape).astype(np.float32)
            )
    return model.eval()


def theirs(transformers, torch, changes):
    """A model of transformers, of the same sizes, with random weights and biases."""
    c = GPTConfig(**{**SIZES, **changes})
    if c.rotary:
        config = transformers.LlamaConfig(
            vocab_size=c.vocab_size, max_position_embeddings=c.block_size, num_hidden_layers=c.layers,
            num_attention_heads=c.heads, num_key_value_heads=c.kv_heads, hidden_size=c.width, intermediate_size=c.hidden,
            rms_norm_eps=c.norm_eps, tie_word_embeddings=c.tied, attention_bias=c.bias, mlp_bias=c.bias,
            rope_parameters={"rope_type": "default", "rope_theta": c.rope_theta}, bos_token_id=1, eos_token_id=2,
        )  # fmt: skip
        model = transformers.LlamaForCausalLM(config)
    else:
        config = transformers.GPT2Config(
            vocab_size=c.vocab_size, n_positions=c.block_size, n_layer=c.layers, n_head=c.heads, n_embd=c.width,
            n_inner=c.hidden, layer_norm_epsilon=c.norm_eps, tie_word_embeddings=c.tied, bos_token_id=1, eos_token_id=2,
        )  # fmt: skip
        model = transformers.GPT2LMHeadModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


def logits(model):
    with no_grad():
        return model(chainrule.tensor(TOKENS)).numpy()


def their_logits(model, torch):
    with torch.no_grad():
        return model(torch.tensor(TOKENS)).logits.numpy()


# Both directions


@BOTH
def test_their_checkpoint_gives_their_logits(changes, transformers, torch, tmp_path):
    model = theirs(transformers, torch, changes)
    model.save_pretrained(tmp_path)
    read = from_pretrained(tmp_path)
    assert read.config == GPTConfig(**{**SIZES, **changes})
    assert not read.training
    expected = their_logits(model, torch)
    assert expected.std() > 0.1
    np.testing.assert_allclose(logits(read), expected, rtol=1e-5, atol=1e-5)


@BOTH
def test_our_checkpoint_gives_our_logits_there(changes, transformers, torch, tmp_path):
    model = ours(**changes)
    save_pretrained(model, tmp_path / "new" / "folder")
    read, report = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "new" / "folder", output_loading_info=True
    )
    assert not any(report.values()), "transformers misses, or does not expect, some of the weights"
    assert type(read).__name__ == ("LlamaForCausalLM" if "rotary" in changes else "GPT2LMHeadModel")
    np.testing.assert_allclose(their_logits(read.eval(), torch), logits(model), rtol=1e-5, atol=1e-5)


@BOTH
def test_gradients_are_theirs(changes, transformers, torch, tmp_path):
    """The gradients of all weights, compared as the steps that they would take: saved in their names and layouts."""
    model = theirs(transformers, torch, changes)
    model.save_pretrained(tmp_path / "weights")
    read, targets = from_pretrained(tmp_path / "weights"), np.random.default_rng(5).integers(0, 31, TOKENS.shape)
    loss = models.get("gpt").loss(read(chainrule.tensor(TOKENS)), chainrule.tensor(targets))
    loss.backward()
    expected = torch.nn.functional.cross_entropy(
        model(torch.tensor(TOKENS)).logits.flatten(0, 1), torch.tensor(targets).flatten()
    )
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    with no_grad():
        for parameter in read.parameters():
            parameter.copy_(parameter.grad)
    save_pretrained(read, tmp_path / "gradients")
    gradients = weights.load(tmp_path / "gradients" / "model.safetensors")
    pairs = {name: (gradients[name].numpy(), p.grad.numpy()) for name, p in model.named_parameters()}
    assert len(pairs) == len(list(model.parameters())) >= 20
    for name, (gradient, theirs_) in pairs.items():
        np.testing.assert_allclose(gradient, theirs_, rtol=1e-4, atol=1e-6, err_msg=name)
        assert np.abs(theirs_).max() > 1e-5, name


@pytest.mark.parametrize("changes", [OURS["gpt2"], OURS["llama, grouped heads, tied"]], ids=["gpt2", "llama"])
def test_greedy_continuations_are_theirs(changes, transformers, torch, tmp_path):
    model = theirs(transformers, torch, changes)
    model.save_pretrained(tmp_path)
    model.generation_config.eos_token_id = None
    expected = model.generate(
        torch.tensor(TOKENS[:1, :4]),
        attention_mask=torch.ones(1, 4),
        max_new_tokens=12,
        do_sample=False,
        pad_token_id=0,
    )
    assert list(generate(from_pretrained(tmp_path), TOKENS[0, :4], 12, temperature=0)) == expected[0, 4:].tolist()


@pytest.mark.parametrize(
    "settings", [{"top_k": 3}, {"top_p": 0.7}, {"top_k": 5, "top_p": 0.5}, {"temperature": 0.3}], ids=str
)
def test_probabilities_are_theirs(settings, transformers, torch):
    values = np.random.default_rng(2).normal(0, 2, (6, 9))
    scores = torch.tensor(values)
    steps = {
        "temperature": transformers.TemperatureLogitsWarper,
        "top_k": transformers.TopKLogitsWarper,
        "top_p": transformers.TopPLogitsWarper,
    }
    for name, value in settings.items():
        scores = steps[name](value)(None, scores)
    np.testing.assert_allclose(Sampler(**settings).probabilities(values), scores.softmax(-1).numpy(), rtol=1e-9)


# Without transformers


@BOTH
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_saved_is_what_is_read(changes, dtype, tmp_path):
    model = ours(**changes).to(dtype)
    save_pretrained(model, tmp_path)
    read = from_pretrained(tmp_path, dropout=0.25)
    assert read.config == GPTConfig(**{**SIZES, **changes, "dropout": 0.25})
    for (name, ours_), (other, theirs_) in zip(model.state_dict().items(), read.state_dict().items(), strict=True):
        assert name == other
        assert theirs_.dtype == dtype
        np.testing.assert_array_equal(ours_.numpy(), theirs_.numpy())


def rewrite(folder, change_config=lambda config: None, change_arrays=lambda arrays: None, dtype=None):
    """Change a saved model's files."""
    config = json.loads((folder / "config.json").read_text())
    arrays = {name: t.numpy() for name, t in weights.load(folder / "model.safetensors").items()}
    change_config(config)
    change_arrays(arrays)
    (folder / "config.json").write_text(json.dumps(config))
    weights.save(
        {name: array.astype(dtype or array.dtype) for name, array in arrays.items()}, folder / "model.safetensors"
    )


def test_the_first_checkpoint_of_gpt2_is_read(tmp_path):
    """It has no prefix, and stores causal masks; other old ones store the output layer that is the embedding."""
    model = ours()
    save_pretrained(model, tmp_path)

    def old(arrays):
        for name in list(arrays):
            arrays[name.removeprefix("transformer.")] = arrays.pop(name)
        arrays["h.0.attn.bias"] = np.tri(16, dtype=np.float32)[None, None]
        arrays["h.0.attn.masked_bias"] = np.float32(-1e4).reshape(())
        arrays["lm_head.weight"] = arrays["wte.weight"]

    rewrite(tmp_path, change_arrays=old)
    np.testing.assert_array_equal(logits(from_pretrained(tmp_path)), logits(model))


def test_half_precision_becomes_single(tmp_path):
    model = ours(**OURS["llama"])
    save_pretrained(model, tmp_path)
    rewrite(tmp_path, dtype=np.float16)
    read = from_pretrained(tmp_path)
    assert read.norm.weight.dtype == np.float32
    np.testing.assert_allclose(logits(read), logits(model), atol=0.02)


def test_fields_that_are_missing_have_their_defaults(tmp_path):
    model = GPT(GPTConfig(vocab_size=40, block_size=1024, layers=12, heads=12, width=24))
    save_pretrained(model, tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2", "vocab_size": 40, "n_embd": 24}')
    assert from_pretrained(tmp_path).config == model.config


# What does not fit


@pytest.mark.parametrize(
    ("changes", "fields", "message"),
    [
        ("gpt2", {"model_type": "bert"}, "config.json: model_type is 'bert'; only gpt2 and llama can be read"),
        ("gpt2", {"model_type": None}, "config.json: model_type is None; only"),
        (
            "gpt2",
            {"activation_function": "relu"},
            'activation_function is "relu", but a GPT can only have "gelu_new" or "gelu_pytorch_tanh"',
        ),
        (
            "gpt2",
            {"scale_attn_by_inverse_layer_idx": True},
            "scale_attn_by_inverse_layer_idx is true, but a GPT can only have false",
        ),
        ("gpt2", {"add_cross_attention": True}, "add_cross_attention is true"),
        ("gpt2", {"n_head": 5}, "config.json: GPTConfig: heads=5 must divide width=24"),
        ("gpt2", {"n_layer": "2"}, "config.json: GPTConfig: layers must be an integer, not '2'"),
        ("gpt2", {"n_layer": 10**9}, "model.safetensors: has 28 tensors, too few for 1000000000 layers in config.json"),
        ("gpt2", {"n_layer": 1}, r"unexpected: transformer.h.1.attn.c_attn.bias \(72,\); "),
        ("gpt2", {"n_layer": 3}, r"missing: transformer.h.2.ln_1.weight \(24,\); "),
        ("gpt2", {"n_positions": 8}, r"wrong shape: transformer.wpe.weight is \(16, 24\), must be \(8, 24\)"),
        ("gpt2", {"n_inner": 10**14}, "the model would not fit into memory"),
        ("gpt2", {"tie_word_embeddings": "yes"}, 'tie_word_embeddings is "yes", but a GPT can only have true or false'),
        ("gpt2", {"tie_word_embeddings": False}, r"missing: lm_head.weight \(31, 24\)"),
        (
            "llama",
            {"tie_word_embeddings": True},
            "lm_head.weight is not model.embed_tokens.weight, but tie_word_embeddings is true",
        ),
        ("llama", {"hidden_act": "gelu"}, 'hidden_act is "gelu", but a GPT can only have "silu" or "swish"'),
        (
            "llama",
            {"rope_parameters": {"rope_type": "llama3", "factor": 8.0}},
            'rope_parameters.rope_type is "llama3", but a GPT can only have "default"',
        ),
        ("llama", {"rope_parameters": 5}, "rope_parameters is 5, not an object"),
        ("llama", {"rope_parameters": []}, r"rope_parameters is \[\], not an object"),
        (
            "llama",
            {"rope_parameters": {"type": "linear", "factor": 2.0}},
            'rope_parameters.type is "linear", but a GPT can only have "default"',
        ),
        ("llama", {"max_position_embeddings": None}, "block_size must be an integer, not None"),
        (
            "llama",
            {"rope_parameters": None, "rope_scaling": {"type": "linear"}},
            'rope_scaling is {"type": "linear"}, but',
        ),
        ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
        ("llama", {"mlp_bias": True}, "mlp_bias is true, but a GPT can only have false"),
        ("llama", {"head_dim": 8}, "head_dim is 8, but a GPT can only have 6"),
        ("llama", {"pretraining_tp": 2}, "pretraining_tp is 2"),
        ("llama", {"num_key_value_heads": 3}, "kv_heads=3 must divide heads=4"),
        (
            "llama",
            {"num_key_value_heads": 2},
            r"wrong shape: model.layers.0.self_attn.k_proj.weight is \(24, 24\), must be \(12, 24\)",
        ),
        (
            "llama",
            {"max_position_embeddings": 10**12},
            "a context of 1,000,000,000,000 tokens is more than the limit of 1,048,576",
        ),
    ],
    ids=str,
)
def test_a_config_that_does_not_fit_is_refused(changes, fields, message, tmp_path):
    save_pretrained(ours(**OURS[changes]), tmp_path)
    rewrite(tmp_path, lambda config: config.update(fields))
    with pytest.raises(RunError, match=message) as caught:
        from_pretrained(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))


def test_every_fault_of_the_weights_is_named(tmp_path):
    def change(arrays):
        del arrays["model.norm.weight"]
        arrays["model.extra"] = np.ones((2, 3), np.float32)
        arrays["model.layers.1.self_attn.v_proj.weight"] = np.ones((24, 23), np.float32)
        arrays["model.layers.0.input_layernorm.weight"] = np.ones(24, np.int64)

    save_pretrained(ours(**OURS["llama"]), tmp_path)
    rewrite(tmp_path, change_arrays=change)
    with pytest.raises(RunError) as caught:
        from_pretrained(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'model.safetensors'}: the weights do not fit config.json: missing: model.norm.weight (24,); "
        "unexpected: model.extra (2, 3); wrong shape: model.layers.1.self_attn.v_proj.weight is (24, 23), must be (24, 24); "
        "wrong type: model.layers.0.input_layernorm.weight is int64"
    )


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", '"gpt2"', "[" * 100_000, "\udcff"],
    ids=["empty", "list", "cut", "text", "nested", "bytes"],
)
def test_a_config_that_is_none_is_refused(content, tmp_path):
    (tmp_path / "config.json").write_text(content, "utf-8", "surrogateescape")
    with pytest.raises(RunError, match="config.json: is not a JSON object"):
        from_pretrained(tmp_path)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(RunError, match=r"config\.json: no such file"):
        from_pretrained(tmp_path)
    save_pretrained(ours(), tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "model-00001-of-00002.safetensors")
    with pytest.raises(RunError, match=r"model\.safetensors: no such file"):
        from_pretrained(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(RunError, match="its weights are in several files"):
        from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "changes", [{"bias": False}, {"rms_norm": True}, {**LLAMA, "swiglu": False}, {"kv_heads": 2}], ids=str
)
def test_a_variant_that_is_neither_is_refused(changes, tmp_path):
    with pytest.raises(RunError, match="^save_pretrained: neither GPT-2 nor Llama is a model with rms_norm="):
        save_pretrained(ours(**changes), tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
