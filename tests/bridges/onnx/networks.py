"""Random networks of many kinds of layers, from a seed, each with an example input."""

from __future__ import annotations

import numpy as np

import chainrule
from chainrule import nn
from chainrule.nn import functional as F  # noqa: N812


class Residual(nn.Module):
    """x plus the output of layers."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.layers(x)


class Apply(nn.Module):
    """A function of tensors."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, input, *more):
        return self.function(input, *more)


class Attend(nn.Module):
    """Self-attention over (N, T, E), in one of its three forms."""

    def __init__(self, width, heads, form, generator):
        super().__init__()
        self.form = form
        if form == "module":
            self.attention = nn.MultiheadAttention(width, heads, batch_first=True, generator=generator)
        else:
            self.qkv = nn.Linear(width, 3 * width, generator=generator)
            self.heads = heads

    def forward(self, x):
        if self.form == "module":
            return self.attention(x, x, x, need_weights=False)[0]
        n, t, e = x.shape
        q, k, v = (part.reshape(n, t, self.heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        out = F.scaled_dot_product_attention(q, k, v, is_causal=self.form == "causal")
        return out.transpose(1, 2).reshape(n, t, e)


def activation(rng):
    return rng.choice([
        nn.ReLU, nn.Sigmoid, nn.Tanh, nn.SiLU, nn.GELU, nn.ELU, nn.LeakyReLU, nn.Softplus, nn.Hardtanh, nn.LogSigmoid,
        lambda: nn.GELU("tanh"), lambda: nn.ELU(0.5), lambda: nn.LeakyReLU(0.2), lambda: nn.Softplus(2.0),
        lambda: Apply(lambda x: x * x.exp().clamp(max=2.0) - x.abs().sqrt()),
        lambda: Apply(lambda x: chainrule.where(x > 0.1, x, x.square() * 0.5)),
        lambda: Apply(lambda x: chainrule.maximum(x, -x.flip(1)) + x.erf()),
    ])()  # fmt: skip


def settle(norm, rng):
    """Give a batch norm layer random running statistics, as if it had been trained; returns the layer."""
    if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
        norm.running_mean.copy_(rng.normal(size=norm.running_mean.shape).astype(np.float32) * 0.3)
        norm.running_var.copy_(rng.uniform(0.5, 2, norm.running_var.shape).astype(np.float32))
    return norm


def vector_layers(rng, width, count):
    layers = []
    for _ in range(count):
        new = int(rng.integers(3, 12))
        kind = rng.integers(5)
        if kind == 0:
            layers.append(Residual(nn.Linear(width, width, generator=rng), activation(rng)))
            continue
        layers.append(nn.Linear(width, new, bias=bool(rng.integers(4)), generator=rng))
        width = new
        if kind == 1:
            layers.append(rng.choice([nn.LayerNorm, nn.RMSNorm])(width))
        elif kind == 2:
            layers.append(settle(nn.BatchNorm1d(width), rng))
        layers.append(activation(rng))
        if kind == 3:
            layers.append(nn.Dropout(0.4, generator=rng))
    return layers, width


def image_layers(rng, channels, size, count):
    layers = []
    for _ in range(count):
        groups = int(rng.choice([1, 1, 2])) if not channels % 2 else 1
        new, kernel = 2 * int(rng.integers(1, 4)), int(rng.integers(1, 4))
        stride, padding = int(rng.integers(1, 3)), int(rng.integers(0, 2))
        dilation = int(rng.integers(1, 3))
        if min(size) + 2 * padding <= dilation * (kernel - 1) + 2:
            break
        options = {"stride": stride, "padding": padding, "dilation": dilation, "bias": bool(rng.integers(3))}
        layers.append(nn.Conv2d(channels, new, kernel, groups=groups, generator=rng, **options))
        channels = new
        size = tuple((n + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1 for n in size)
        kind = rng.integers(9)
        if kind == 0:
            layers.append(settle(nn.BatchNorm2d(channels), rng))
        elif kind == 1:
            layers.append(nn.GroupNorm(2, channels))
        elif kind == 2:
            layers.append(Apply(lambda x: F.pad(x, (1, 2, 0, 1), value=0.5)))
            size = size[0] + 1, size[1] + 3
        elif kind == 3 and min(size) > 2:
            mode = str(rng.choice(["reflect", "replicate", "circular"]))
            layers.append(Apply(lambda x, mode=mode: F.pad(x, (1, 1, 1, 1), mode=mode)))
            size = size[0] + 2, size[1] + 2
        elif kind == 4:
            layers.append(nn.ConvTranspose2d(channels, channels, 2, stride=2, generator=rng))
            size = size[0] * 2, size[1] * 2
        elif kind == 5 and min(size) >= 3:
            ceil = bool(rng.integers(2))
            pool = rng.choice([nn.MaxPool2d, nn.AvgPool2d])(3, 2, 1, ceil_mode=ceil)
            layers.append(pool)
            size = tuple(pool(chainrule.zeros(1, 1, *size)).shape[2:])
        elif kind == 6 and min(size) >= 2:
            layers.append(nn.AvgPool2d(2, 1, 1, count_include_pad=bool(rng.integers(2))))
            size = size[0] + 1, size[1] + 1
        elif kind == 7:
            layers.append(Residual(nn.Conv2d(channels, channels, 3, padding=1, generator=rng), activation(rng)))
        layers.append(activation(rng))
    return layers


def network(seed):
    """Return a network and an example of its input with a batch of 3."""
    rng = np.random.default_rng(seed)
    kind = seed % 5
    outputs = int(rng.integers(1, 6))
    if kind == 0:
        width = int(rng.integers(2, 9))
        layers, last = vector_layers(rng, width, int(rng.integers(1, 5)))
        example = rng.normal(size=(3, width)).astype(np.float32)
    elif kind == 1:
        channels, size = int(rng.integers(1, 4)), (int(rng.integers(6, 13)), int(rng.integers(6, 13)))
        example = rng.normal(size=(3, channels, *size)).astype(np.float32)
        layers = image_layers(rng, channels, size, int(rng.integers(1, 4)))
        layers += [nn.AdaptiveAvgPool2d((2, 1))] if rng.integers(2) else []
        layers.append(nn.Flatten())
        last = nn.Sequential(*layers).eval()(chainrule.tensor(example)).shape[1]
    elif kind == 2:  # a sequence
        channels, length = int(rng.integers(1, 4)), int(rng.integers(8, 20))
        example = rng.normal(size=(3, channels, length)).astype(np.float32)
        new = int(rng.integers(2, 6))
        layers = [
            nn.Conv1d(channels, new, int(rng.integers(1, 4)), stride=int(rng.integers(1, 3)), padding=1, generator=rng),
            settle(nn.BatchNorm1d(new), rng) if rng.integers(2) else nn.GroupNorm(1, new),
            activation(rng),
            Apply(lambda x: x.transpose(1, 2)[:, 1:]),
            nn.Linear(new, 6, generator=rng),
            Residual(Attend(6, 2, "plain", rng)),
            Apply(lambda x: chainrule.cat([x.amax(1), x.mean(1), x.logsumexp(1)], 1)),
        ]
        last = 18
    elif kind == 3:  # tokens
        width, length = 4 * int(rng.integers(1, 4)), int(rng.integers(3, 12))
        length = 40 if seed % 20 == 3 else length  # long enough for fused attention
        example = rng.integers(0, 11, (3, length))
        form = str(rng.choice(["module", "causal", "plain"]))
        layers = [nn.Embedding(11, width, generator=rng), nn.LayerNorm(width), Residual(Attend(width, 2, form, rng))]
        if rng.integers(2):
            layers.append(
                nn.TransformerEncoderLayer(
                    width, 2, 8, norm_first=bool(rng.integers(2)), batch_first=True, generator=rng
                )
            )
        layers.append(Apply(lambda x: x[:, -1] if x.shape[1] % 2 else x.sum(1)))
        last = width
    else:  # reshaping
        a, b = int(rng.integers(2, 5)), int(rng.integers(2, 5))
        example = rng.normal(size=(3, a * b)).astype(np.float32)
        layers = [
            nn.Unflatten(1, (a, b)),
            Apply(lambda x: x.transpose(1, 2).reshape(x.shape[0], -1)),
            Apply(lambda x: chainrule.stack([x, x.flip(1)], 1).permute(2, 0, 1).transpose(0, 1)),
            Apply(lambda x: x.reshape(-1, 2) @ chainrule.tensor([[1.0, -0.5], [0.25, 2.0]])),
            Apply(lambda x, n=a * b: x.view(-1, n, 2).expand(2, -1, -1, -1)[1].tril(1)),
            nn.Flatten(),
            nn.Softmax(-1) if rng.integers(2) else nn.LogSoftmax(-1),
            Apply(lambda x: x.roll(1, 1).cumsum(1) + x.var(1, keepdim=True)),
        ]
        last = 2 * a * b
    layers.append(nn.Linear(last, outputs, generator=rng))
    return nn.Sequential(*layers).eval(), example
