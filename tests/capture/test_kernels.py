"""Convolution, pooling and attention in compiled functions: the same kernels as in eager mode, so the same bits."""

import numpy as np
import pytest

import chainrule
from chainrule import nn
from chainrule.capture import jit
from chainrule.kernels import team
from chainrule.ops import attention
from chainrule.ops.pooling import avg_pool2d, max_pool2d

RNG = np.random.default_rng(3)

# shape, weight's shape, and how
CONVOLUTIONS = {
    "plain": ((3, 2, 6, 7), (5, 2, 3, 2), {}),
    "one image": ((1, 3, 9, 9), (16, 3, 3, 3), {"padding": 1}),
    "whole vectors": ((4, 3, 14, 14), (16, 3, 5, 5), {"padding": 2}),
    "stride and padding": ((3, 2, 7, 6), (3, 2, 3, 2), {"stride": (2, 3), "padding": (2, 1)}),
    "stride beyond the kernel": ((5, 2, 9, 9), (2, 2, 2, 1), {"stride": (3, 4)}),
    "dilation and stride": ((2, 2, 9, 8), (2, 2, 3, 3), {"dilation": (2, 3), "stride": (2, 1), "padding": (1, 2)}),
    "groups": ((9, 6, 5, 5), (9, 2, 3, 3), {"groups": 3, "padding": 1}),
    "depthwise": ((8, 4, 5, 5), (4, 1, 3, 3), {"groups": 4, "stride": 2, "padding": 1}),
    "many weights": ((4, 40, 4, 4), (72, 40, 3, 3), {"padding": 1}),
    "sequences": ((3, 2, 20), (5, 2, 4), {"stride": 2, "padding": 3, "dilation": 2}),
}
POOLS = {
    "two by two": lambda x: max_pool2d(x, 2),
    "overlapping": lambda x: max_pool2d(x, 3, stride=2, padding=1),
    "beyond the border": lambda x: max_pool2d(x, (2, 3), ceil_mode=True),
    "dilation": lambda x: max_pool2d(x, 2, stride=1, dilation=(2, 1)),
    "many taps": lambda x: max_pool2d(chainrule.cat([x] * 3, 3), 17, stride=4, padding=8),
    "mean": lambda x: avg_pool2d(x, 3, stride=2, padding=1),
    "mean without zeros": lambda x: avg_pool2d(x, 2, stride=3, padding=1, count_include_pad=False, ceil_mode=True),
}


@pytest.fixture(params=[1, 2])
def threads(request, monkeypatch):
    """So many threads, even for the least work."""
    monkeypatch.setattr(team, "_threads", request.param)
    monkeypatch.setattr("chainrule.lower.program.WORK_PER_THREAD", 1)
    monkeypatch.setattr("chainrule.lower.kernel_call.MIN_PARALLEL_WORK", 1)
    return request.param


def tensor(*shape, dtype=np.float32):
    return chainrule.from_numpy(RNG.standard_normal(shape).astype(dtype))


def check(function, *parameters):
    """The same results, and the same bits in gradients, three times with other numbers; how it was compiled."""
    others = [chainrule.from_numpy(p.numpy().copy(order="K")) for p in parameters]

    def learn(leaves):
        def step(weigh):
            for p in leaves:
                p.grad = None
            out = function(*leaves)
            (out * weigh).sum().backward()
            return out

        return step

    for p in (*parameters, *others):
        p.requires_grad_()
    eager, compiled = learn(others), jit(learn(parameters))
    shape, dtype = function(*parameters).shape, parameters[0].dtype
    for _ in range(3):
        weigh = tensor(*shape, dtype=dtype)
        for p, other in zip(parameters, others, strict=True):
            values = tensor(*p.shape, dtype=dtype)
            p.detach().copy_(values)
            other.detach().copy_(values)
        np.testing.assert_array_equal(compiled(weigh).numpy(), eager(weigh).numpy())
        for p, other in zip(parameters, others, strict=True):
            np.testing.assert_array_equal(p.grad.numpy(), other.grad.numpy())
    assert [len(programs) for programs in compiled.specializations.values()] == [1]
    return compiled


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolution_bit_by_bit(threads, case):
    shape, weight, how = CONVOLUTIONS[case]
    dtype = np.float64 if case == "dilation and stride" else np.float32
    function = getattr(nn.functional, f"conv{len(shape) - 2}d")
    compiled = check(lambda x, w: function(x, w, **how), tensor(*shape, dtype=dtype), tensor(*weight, dtype=dtype))
    assert "Python" not in compiled.explain()


def test_convolution_turned_round_bit_by_bit(threads):
    function = nn.functional.conv_transpose2d
    compiled = check(lambda x, w: function(x, w, stride=2, padding=1), tensor(3, 4, 5, 5), tensor(4, 3, 3, 3))
    assert "Python" not in compiled.explain()


@pytest.mark.parametrize("case", POOLS)
def test_pooling_bit_by_bit(threads, case):
    compiled = check(POOLS[case], tensor(6, 32 if case == "two by two" else 5, 9, 11))
    assert "Python" not in compiled.explain()


@pytest.mark.parametrize("keys", [130, 9])
@pytest.mark.parametrize("is_causal", [False, True], ids=["full", "causal"])
def test_attention_bit_by_bit(threads, is_causal, keys):
    compiled = check(
        lambda *arrays: attention.scaled_dot_product_attention(*arrays, is_causal=is_causal),
        tensor(2, 3, 130, 8), tensor(2, 3, keys, 8), tensor(2, 3, keys, 5),
    )  # fmt: skip
    assert "fused_attention_gradients" in compiled.explain()
    assert "Python" not in compiled.explain()


def test_heads_of_attention_are_read_where_a_projection_wrote_them(threads):
    def attend(x):
        heads = [part.reshape(2, 40, 4, 8).transpose(1, 2) for part in (x * 2).split(32, 2)]
        out = attention.scaled_dot_product_attention(*heads, is_causal=True)
        return out.transpose(1, 2).reshape(2, 40, 32)

    compiled = check(attend, tensor(2, 40, 96))
    stages = [line.split() for line in compiled.explain().splitlines()]
    first = next(n for n, words in enumerate(stages) if "fused_attention" in words)
    assert [words[1] for words in stages[first : first + 3]] == [
        "fused_attention",
        "multiply",
        "fused_attention_gradients",
    ]


def test_the_curvature_of_attention(threads):
    """A gradient of a gradient: the first is computed in steps that can be differentiated."""
    leaves, others = ([tensor(2, 40, 4) for _ in range(3)] for _ in range(2))
    for leaf, other in zip(leaves, others, strict=True):
        other.copy_(leaf)
        leaf.requires_grad_()
        other.requires_grad_()

    def learn(inputs):
        out = attention.scaled_dot_product_attention(*inputs, is_causal=True)
        slopes = chainrule.grad((out * out).sum(), inputs, create_graph=True)
        sum((slope * slope).sum() for slope in slopes).backward()

    learn(others)
    jit(lambda: learn(leaves))()
    for leaf, other in zip(leaves, others, strict=True):
        np.testing.assert_allclose(leaf.grad.numpy(), other.grad.numpy(), rtol=1e-4, atol=1e-5)


def test_any_memory_order(threads):
    x, w = tensor(4, 8, 8, 3), tensor(3, 3, 3, 6)
    compiled = check(
        lambda x, w: max_pool2d(nn.functional.conv2d(x.permute(0, 3, 1, 2), w.permute(3, 2, 0, 1)), 2), x, w
    )
    assert "Python" not in compiled.explain()


def build_network():
    rng = np.random.default_rng(0)
    layers = [
        nn.Conv2d(1, 32, 5, padding=2, generator=rng), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 20, 3, stride=2, generator=rng), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(20, 3, generator=rng),
    ]  # fmt: skip
    return nn.Sequential(*layers)


@pytest.mark.parametrize("images", [1, 2, 8, 9, 24])
def test_stages_that_run_image_by_image(threads, images):
    """Bias, activation, mask and pooling follow each image's convolution; backward the same, with sums over images."""
    nets = build_network(), build_network()

    def learn(net):
        def step(x):
            net.zero_grad()
            out = net(x)
            (out * out).sum().backward()
            return out

        return step

    plain, compiled = learn(nets[0]), jit(learn(nets[1]))
    for _ in range(2):
        x = tensor(images, 1, 14, 14)
        np.testing.assert_allclose(compiled(x).numpy(), plain(x).detach().numpy(), rtol=1e-5, atol=1e-5)
        for p, q in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
            grad = p.grad.numpy()
            np.testing.assert_allclose(q.grad.numpy(), grad, rtol=1e-4, atol=1e-5 * np.abs(grad).max())
    is_grouped = "block by block" in compiled.explain()
    assert is_grouped == (images > 1)


def test_one_image_of_what_is_handed_on_is_enough():
    net = build_network().eval()
    read = jit(lambda x: net(x))
    for _ in range(2):
        x = tensor(200, 1, 14, 14)
        with chainrule.no_grad():
            np.testing.assert_allclose(read(x).numpy(), net(x).numpy(), rtol=1e-5, atol=1e-5)
    [[specialization]] = read.specializations.values()
    assert specialization.program.schedule.arena_size < 400_000  # the first convolution's result is five million


def test_explain_tells_their_arithmetic():
    x, w = tensor(4, 3, 14, 14), tensor(16, 3, 5, 5)
    read = jit(lambda x: nn.functional.conv2d(x, w, padding=2))
    read(x)
    line = next(line for line in read.explain().splitlines() if "convolution" in line)
    assert f"{2 * 4 * 16 * 14 * 14 * 75 / 1e6:,.3f}" in line
