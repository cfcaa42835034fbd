"""Modules cross to PyTorch and back: every shared layer computes the same there, or says why it cannot cross."""

from __future__ import annotations

import re
from ast import literal_eval
from collections import OrderedDict

import numpy as np
import pytest

import chainrule
from chainrule import nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'chainrule[torch]'")

from chainrule.torch import from_torch, to_torch  # noqa: E402  # it needs PyTorch

RELATIVE = 1e-12
IMAGES, ROWS, SEQUENCE = (3, 4, 9, 8), (5, 6), (7, 3, 8)

# The class, what it is built with, and the shapes of its inputs; "k in (shape)" stands for indices below k.
CASES = [
    ("Identity", (), {}, ROWS),
    ("Linear", (6, 3), {}, ROWS),
    ("Linear", (6, 3), {"bias": False}, ROWS),
    ("Flatten", (), {}, IMAGES),
    ("Flatten", (2, 3), {}, IMAGES),
    ("Unflatten", (1, (2, 3)), {}, ROWS),
    ("Dropout", (0.3,), {}, ROWS),
    ("Dropout2d", (0.2,), {}, IMAGES),
    ("ReLU", (), {}, ROWS),
    ("ReLU", (), {"inplace": True}, ROWS),
    ("LeakyReLU", (0.2,), {}, ROWS),
    ("Sigmoid", (), {}, ROWS),
    ("Tanh", (), {}, ROWS),
    ("SiLU", (), {}, ROWS),
    ("LogSigmoid", (), {}, ROWS),
    ("ELU", (0.7,), {}, ROWS),
    ("GELU", (), {}, ROWS),
    ("GELU", ("tanh",), {}, ROWS),
    ("Softplus", (2.0, 1.5), {}, ROWS),
    ("Hardtanh", (-0.5, 0.3), {}, ROWS),
    ("Softmax", (0,), {}, ROWS),
    ("LogSoftmax", (1,), {}, ROWS),
    ("Conv1d", (3, 4, 3), {"stride": 2, "padding": 1}, SEQUENCE),
    ("Conv1d", (3, 6, 5), {"padding": "same", "groups": 3, "bias": False}, SEQUENCE),
    ("Conv2d", (4, 6, 3), {}, IMAGES),
    ("Conv2d", (4, 6, (3, 2)), {"stride": (2, 1), "padding": (1, 0), "dilation": 2, "groups": 2}, IMAGES),
    ("Conv2d", (4, 2, 3), {"padding": "same", "bias": False}, IMAGES),
    ("ConvTranspose2d", (4, 6, (3, 2)), {"stride": 2, "padding": 1, "output_padding": (1, 0), "groups": 2, "dilation": 2}, IMAGES),
    ("ConvTranspose2d", (4, 2, 3), {"bias": False}, IMAGES),
    ("MaxPool2d", (2,), {}, IMAGES),
    ("MaxPool2d", ((3, 2),), {"stride": (2, 1), "padding": 1, "dilation": (1, 2), "ceil_mode": True}, IMAGES),
    ("MaxPool2d", (2,), {"return_indices": True}, IMAGES),
    ("AvgPool2d", (2,), {}, IMAGES),
    ("AvgPool2d", (3,), {"stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False}, IMAGES),
    ("AvgPool2d", ((3, 2),), {"divisor_override": 5}, IMAGES),
    ("AdaptiveAvgPool2d", (3,), {}, IMAGES),
    ("AdaptiveAvgPool2d", ((None, 2),), {}, IMAGES),
    ("ZeroPad2d", (2,), {}, IMAGES),
    ("ReflectionPad2d", ((1, 2, 0, 3),), {}, IMAGES),
    ("ReplicationPad2d", ((1, 2, 0, 3),), {}, IMAGES),
    ("CircularPad2d", ((1, 2, 0, 3),), {}, IMAGES),
    ("BatchNorm1d", (6,), {}, ROWS),
    ("BatchNorm1d", (3,), {"eps": 1e-2, "momentum": 0.3, "affine": False}, SEQUENCE),
    ("BatchNorm2d", (4,), {"momentum": None}, IMAGES),
    ("BatchNorm2d", (4,), {"track_running_stats": False}, IMAGES),
    ("BatchNorm2d", (4,), {"bias": False}, IMAGES),
    ("GroupNorm", (2, 4), {"eps": 1e-2}, IMAGES),
    ("GroupNorm", (2, 4), {"affine": False}, IMAGES),
    ("LayerNorm", (6,), {"eps": 1e-2}, ROWS),
    ("LayerNorm", ((9, 8),), {"bias": False}, IMAGES),
    ("LayerNorm", (6,), {"elementwise_affine": False}, ROWS),
    ("RMSNorm", (6,), {}, ROWS),
    ("RMSNorm", ((9, 8),), {"eps": 1e-2, "elementwise_affine": False}, IMAGES),
    ("Embedding", (10, 4), {}, "10 in (5, 3)"),
    ("Embedding", (10, 4), {"padding_idx": -3}, "10 in (5, 3)"),
    ("MultiheadAttention", (8, 2), {"dropout": 0.3}, SEQUENCE, SEQUENCE, SEQUENCE),
    ("MultiheadAttention", (8, 4), {"bias": False, "batch_first": True}, SEQUENCE, SEQUENCE, SEQUENCE),
    ("TransformerEncoderLayer", (8, 2, 16), {}, SEQUENCE),
    ("TransformerEncoderLayer", (8, 4, 12), {"dropout": 0.3, "activation": "gelu", "layer_norm_eps": 1e-2, "batch_first": True, "norm_first": True, "bias": False}, SEQUENCE),
    ("LSTM", (SEQUENCE[-1], 5), {"num_layers": 2, "bidirectional": True, "batch_first": True}, SEQUENCE),
    ("LSTM", (SEQUENCE[-1], 5), {"num_layers": 3, "dropout": 0.3, "bias": False}, SEQUENCE),
    ("GRU", (SEQUENCE[-1], 5, 2), {"bidirectional": True}, SEQUENCE),
    ("RNN", (SEQUENCE[-1], 5), {"nonlinearity": "relu"}, SEQUENCE),
    ("LSTMCell", (6, 4), {}, ROWS),
    ("GRUCell", (6, 4), {"bias": False}, ROWS),
    ("RNNCell", (6, 4), {"nonlinearity": "relu"}, ROWS),
    ("CELU", (0.7,), {}, ROWS),
    ("Hardsigmoid", (), {}, ROWS),
    ("Hardswish", (), {}, ROWS),
    ("Mish", (), {}, ROWS),
    ("PReLU", (6, 0.1), {}, ROWS),
    ("ReLU6", (), {"inplace": True}, ROWS),
    ("SELU", (), {}, ROWS),
    ("Softmin", (1,), {}, ROWS),
    ("Softsign", (), {}, ROWS),
    ("AvgPool1d", (3,), {"stride": 2, "padding": 1, "count_include_pad": False}, SEQUENCE),
    ("MaxPool1d", (3,), {"stride": 2, "padding": 1, "ceil_mode": True}, SEQUENCE),
    ("ConvTranspose1d", (3, 6, 3), {"stride": 2, "padding": 1, "output_padding": 1, "groups": 3}, SEQUENCE),
    ("InstanceNorm1d", (3,), {"affine": True}, SEQUENCE),
    ("InstanceNorm2d", (4,), {"track_running_stats": True, "momentum": 0.3}, IMAGES),
    ("Upsample", (), {"scale_factor": 2, "mode": "bilinear", "align_corners": True}, IMAGES),
    ("CrossEntropyLoss", (), {}, ROWS, "6 in (5,)"),
    ("CrossEntropyLoss", (), {"weight": 6, "ignore_index": 2, "reduction": "sum", "label_smoothing": 0.1}, ROWS, "6 in (5,)"),
    ("NLLLoss", (), {"weight": 6, "ignore_index": 2, "reduction": "none"}, ROWS, "6 in (5,)"),
    ("MSELoss", (), {}, ROWS, ROWS),
    ("L1Loss", (), {"reduction": "sum"}, ROWS, ROWS),
    ("SmoothL1Loss", (), {"beta": 0.3}, ROWS, ROWS),
    ("HuberLoss", (), {"delta": 0.3, "reduction": "none"}, ROWS, ROWS),
    ("BCELoss", (), {"weight": 6}, "share of (5, 6)", "share of (5, 6)"),
    ("BCEWithLogitsLoss", (), {"weight": 6, "pos_weight": 6}, ROWS, "share of (5, 6)"),
    ("KLDivLoss", (), {"reduction": "batchmean", "log_target": True}, ROWS, ROWS),
]  # fmt: skip


def arrays(rng, shapes):
    for shape in shapes:
        if isinstance(shape, tuple):
            yield rng.standard_normal(shape)
        elif shape.startswith("share"):
            yield rng.random(literal_eval(shape.partition("of ")[2]))
        else:
            yield rng.integers(0, int(shape.split()[0]), literal_eval(shape.partition("in ")[2]))


def shaken(module, rng):
    """With parameters and buffers of its own, in float64."""
    module.double()
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.from_numpy(0.5 + rng.random(tuple(tensor.shape))))
    return module


def outputs(out):
    """The tensors that came out, as arrays."""
    if isinstance(out, tuple):
        return [array for part in out for array in outputs(part)]
    return [] if out is None else [out.detach().numpy()]


def assert_same_state(one, two):
    ours, theirs = one.state_dict(), two.state_dict()
    assert list(ours) == list(theirs)
    for name, tensor in theirs.items():
        np.testing.assert_array_equal(ours[name].numpy(), tensor.numpy(), strict=True, err_msg=name)
    modes = [[(name, module.training) for name, module in side.named_modules()] for side in (one, two)]
    assert modes[0] == modes[1]
    learned = [[(name, p.requires_grad) for name, p in side.named_parameters()] for side in (one, two)]
    assert learned[0] == learned[1]


def assert_same_outputs(ours, theirs, inputs):
    one = outputs(ours(*(chainrule.tensor(x) for x in inputs)))
    two = outputs(theirs(*(torch.tensor(x) for x in inputs)))
    for a, b in zip(one, two, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=0, atol=RELATIVE * np.abs(b).max(initial=0))


@pytest.mark.parametrize(("name", "arguments", "options", "shapes"), [(*case[:3], case[3:]) for case in CASES], ids=str)
def test_every_layer_goes_both_ways(name, arguments, options, shapes):
    rng = np.random.default_rng(0)
    weights = {key: torch.tensor(rng.random(n)) for key, n in options.items() if key in ("weight", "pos_weight")}
    theirs = shaken(getattr(torch.nn, name)(*arguments, **{**options, **weights}), rng)
    for parameter in list(theirs.parameters())[1:2]:
        parameter.requires_grad_(False)
    theirs.eval()
    ours = from_torch(theirs)
    assert type(ours) is getattr(nn, name)
    assert_same_state(ours, theirs)
    inputs = list(arrays(rng, shapes))
    assert_same_outputs(ours, theirs, inputs)

    again = to_torch(ours)
    assert type(again) is type(theirs)
    assert repr(again).replace("inplace=True", "") == repr(theirs).replace("inplace=True", "")
    assert_same_state(ours, again)
    assert_same_outputs(ours, again, inputs)
    assert repr(from_torch(again)) == repr(ours)

    if "Dropout" not in repr(theirs) and "dropout" not in options:  # learning draws no numbers
        for module in (ours, theirs):
            module.train()
        for _ in range(2):  # running statistics change from one to the next
            assert_same_outputs(ours, theirs, inputs)
        for key, tensor in theirs.state_dict().items():
            np.testing.assert_allclose(ours.state_dict()[key].numpy(), tensor.numpy(), rtol=RELATIVE)


def test_every_layer_has_a_case():
    layers = {name for name, value in vars(nn).items() if isinstance(value, type) and issubclass(value, nn.Module)}
    holders = {"Module", "ModuleDict", "ModuleList", "ParameterList", "Sequential"}
    assert layers - holders == {case[0] for case in CASES}


def make_network():
    def block(channels):
        return torch.nn.Sequential(
            OrderedDict(conv=torch.nn.Conv2d(channels, 4, 3, padding=1, bias=False), norm=torch.nn.BatchNorm2d(4))
        )

    return torch.nn.Sequential(
        block(1),
        torch.nn.ReLU(inplace=True),
        torch.nn.Sequential(block(4), torch.nn.LeakyReLU(0.1)),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Dropout(0.1),
        torch.nn.Linear(64, 5),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_network(dtype):
    theirs = make_network().to(dtype)
    theirs[2].eval()  # frozen in part
    theirs[2].requires_grad_(False)
    ours = from_torch(theirs)
    assert_same_state(ours, theirs)
    assert_same_state(to_torch(ours), theirs)
    x = np.random.default_rng(1).standard_normal((2, 1, 8, 8)).astype(str(dtype)[6:])
    theirs.eval()
    ours.eval()
    tolerance = 1e-5 if dtype == torch.float32 else RELATIVE
    one, two = ours(chainrule.tensor(x)).detach().numpy(), theirs(torch.tensor(x)).detach().numpy()
    assert one.dtype == two.dtype
    np.testing.assert_allclose(one, two, rtol=0, atol=tolerance * np.abs(two).max())


def test_gradients_are_the_same():
    theirs = make_network().double()
    theirs[5].p = 0.0
    ours = from_torch(theirs)
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((4, 1, 8, 8)), rng.integers(0, 5, 4)
    from_torch(torch.nn.CrossEntropyLoss())(ours(chainrule.tensor(x)), chainrule.tensor(y)).backward()
    torch.nn.CrossEntropyLoss()(theirs(torch.tensor(x)), torch.tensor(y)).backward()
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        scale = max(1e-3, float(q.grad.abs().max()))
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=0, atol=1e-11 * scale, err_msg=name)


def test_holders():
    theirs = torch.nn.ModuleDict(
        {
            "layers": torch.nn.ModuleList([torch.nn.Linear(2, 3), torch.nn.Tanh()]),
            "free": torch.nn.ParameterList([torch.ones(2), torch.nn.Parameter(torch.zeros(3), requires_grad=False)]),
        }
    )
    ours = from_torch(theirs)
    assert [type(m).__name__ for m in ours.modules()] == [type(m).__name__ for m in theirs.modules()]
    assert_same_state(ours, theirs)
    again = to_torch(ours)
    assert_same_state(ours, again)
    assert (len(ours["layers"]), len(again["layers"]), len(again["free"])) == (2, 2, 2)
    assert repr(again) == repr(theirs)


def test_an_activation_that_is_a_module():
    theirs = torch.nn.TransformerEncoderLayer(8, 2, 16, activation=torch.nn.LeakyReLU(0.3), batch_first=True)
    theirs.double().eval()
    ours = from_torch(theirs)
    assert ours.activation.negative_slope == 0.3
    x = list(arrays(np.random.default_rng(3), [SEQUENCE]))
    assert_same_outputs(ours, theirs, x)
    assert_same_outputs(ours, to_torch(ours), x)


def test_parts_with_settings_of_their_own_keep_them():
    theirs = torch.nn.TransformerEncoderLayer(8, 2, 16, 0.1)
    theirs.dropout2.p, theirs.norm2.eps = 0.4, 0.5
    ours = from_torch(theirs)
    assert (ours.dropout.p, ours.dropout2.p, ours.norm1.eps, ours.norm2.eps) == (0.1, 0.4, 1e-5, 0.5)


@pytest.mark.parametrize("cross", [from_torch, to_torch])
def test_what_is_shared_stays_shared(cross):
    library = torch.nn if cross is from_torch else nn
    layer, head = library.Linear(4, 4), library.Linear(4, 4)
    head.weight = layer.weight
    there = cross(library.Sequential(layer, library.ReLU(), layer, head))
    assert there[0] is there[2]
    assert there[3].weight is there[0].weight
    assert there[3].bias is not there[0].bias
    assert len(list(there.parameters())) == 3


def test_nothing_is_shared_with_the_original():
    theirs = torch.nn.Linear(2, 2)
    ours = from_torch(theirs)
    before = theirs.weight.detach().clone()
    with chainrule.no_grad():
        ours.weight.fill_(7.0)
    there = to_torch(ours)
    with chainrule.no_grad():
        ours.weight.fill_(8.0)
    assert torch.equal(theirs.weight, before)
    assert there.weight.eq(7).all()


def test_crossing_draws_nothing():
    theirs = make_network()
    chainrule.manual_seed(5)
    torch.manual_seed(5)
    to_torch(from_torch(theirs))
    after = chainrule.rand(3).numpy(), torch.rand(3)
    chainrule.manual_seed(5)
    torch.manual_seed(5)
    np.testing.assert_array_equal(chainrule.rand(3).numpy(), after[0])
    assert torch.equal(torch.rand(3), after[1])


def test_weights_that_lie_oddly_in_memory():
    theirs = torch.nn.Conv2d(3, 4, 2).double().to(memory_format=torch.channels_last)
    ours = from_torch(theirs)
    assert ours.weight.numpy().flags.c_contiguous
    assert_same_outputs(ours, theirs, list(arrays(np.random.default_rng(0), [(2, 3, 5, 5)])))


def with_(module, **attributes):
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


def hooked(module):
    module.register_forward_hook(lambda *_: None)
    return module


def tensor_hooked(module):
    module.weight.register_hook(lambda grad: 2 * grad)
    return module


def overlapping(library):
    one, two = library.Linear(3, 3), library.Linear(3, 3)
    two.weight.data = one.weight.data
    return library.Sequential(one, two)


class Own(torch.nn.Module):
    pass


def extra_buffer():
    module = torch.nn.Linear(2, 2)
    module.register_buffer("mask", torch.ones(2))
    return module


CANNOT_COME = {
    "class": (lambda: torch.nn.Bilinear(2, 2, 1), "Bilinear: chainrule has no such class"),
    "own class": (Own, "Own: chainrule has no such class; copy weights alone with state_dict"),
    "parametrised": (
        lambda: torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(2, 2)),
        "ParametrizedLinear: has parametrizations, of weight; call torch.nn.utils.parametrize.remove_parametrizations",
    ),
    "hook": (lambda: hooked(torch.nn.ReLU()), "ReLU: has functions, which cannot be converted: _forward_hooks"),
    "forward": (lambda: with_(torch.nn.ReLU(), forward=abs), "ReLU: has functions, which cannot be converted: forward"),
    "tensor's hook": (lambda: tensor_hooked(torch.nn.Linear(2, 2)), "Linear: weight has hooks, which cannot be converted"),
    "half": (lambda: torch.nn.Linear(2, 2).bfloat16(), "Linear: weight is bfloat16: only float32 and float64"),
    "device": (lambda: torch.nn.Linear(2, 2, device="meta"), "Linear: weight is on meta"),
    "padding": (
        lambda: torch.nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"),
        "Conv2d: padding_mode='reflect' has no counterpart in chainrule",
    ),
    "max_norm": (lambda: torch.nn.Embedding(3, 2, max_norm=1.0), "Embedding: max_norm=1.0 has no counterpart"),
    "dim": (lambda: torch.nn.Softmax(), "Softmax: dim=None has no counterpart"),
    "named": (lambda: with_(torch.nn.Unflatten(1, (2, 3)), dim="C"), "Unflatten: dim='C' has no counterpart"),
    "zero": (lambda: torch.nn.MultiheadAttention(4, 2, add_zero_attn=True), "MultiheadAttention: add_zero_attn=True has no"),
    "kdim": (lambda: torch.nn.MultiheadAttention(4, 2, kdim=3), "chainrule's module has no '2.conv.q_proj_weight'"),
    "buffer": (extra_buffer, "chainrule's module has no '2.conv.mask'"),
    "child": (lambda: with_(torch.nn.ReLU(), inner=torch.nn.ReLU()), "'2.conv.inner', ReLU: chainrule's ReLU cannot hold"),
    "activation": (
        lambda: torch.nn.TransformerEncoderLayer(4, 2, 4, activation=torch.sin),
        "TransformerEncoderLayer: activation=.* is a function, which cannot be converted",
    ),
    "part": (
        lambda: with_(torch.nn.TransformerEncoderLayer(4, 2, 4), linear1=torch.nn.Identity()),
        "TransformerEncoderLayer: has no linear1.out_features, from which to read dim_feedforward",
    ),
    "memory": (
        lambda: overlapping(torch.nn),
        r"module '2.conv.1', Linear: 2.conv.1.weight and 2.conv.0.weight share memory without being the same parameter",
    ),
    "no tensor": (lambda: torch.nn.ParameterList([3]), "ParameterList: 0 is a int, not a parameter"),
}  # fmt: skip


@pytest.mark.parametrize("case", CANNOT_COME)
@pytest.mark.filterwarnings("ignore:Implicit dimension choice")
def test_what_cannot_come_says_where_and_why(case):
    make, message = CANNOT_COME[case]
    whole = torch.nn.Sequential(
        torch.nn.ReLU(), torch.nn.ReLU(), torch.nn.Sequential(OrderedDict(conv=make())), torch.nn.ReLU()
    )
    with pytest.raises(ValueError, match=message) as caught:
        from_torch(whole)
    assert str(caught.value).startswith("from_torch: ")
    assert "2.conv" in str(caught.value)


class OurOwn(nn.Linear):
    pass


CANNOT_GO = {
    "own class": (lambda: OurOwn(2, 2), "module '1', OurOwn: PyTorch has no such class"),
    "half": (lambda: nn.Linear(2, 2).to(np.float16), "module '1', Linear: weight is float16: only float32"),
    "hook": (lambda: hooked(nn.ReLU()), "module '1', ReLU: has functions, which cannot be converted: _hooks"),
    "tensor's hook": (lambda: tensor_hooked(nn.Linear(2, 2)), "module '1', Linear: weight has hooks"),
    "memory": (lambda: overlapping(nn), "'1.1', Linear: 1.1.weight and 1.0.weight share memory"),
    "extra": (lambda: with_(nn.ReLU(), scale=nn.Parameter(np.ones(2))), "PyTorch's module has no '1.scale'"),
    "parts in a list": (lambda: with_(nn.ReLU(), parts=[nn.ReLU()]), "'1.parts.0', ReLU: PyTorch's ReLU cannot hold"),
}


@pytest.mark.parametrize("case", CANNOT_GO)
def test_what_cannot_go_says_where_and_why(case):
    make, message = CANNOT_GO[case]
    with pytest.raises(ValueError, match=message) as caught:
        to_torch(nn.Sequential(nn.ReLU(), make()))
    assert str(caught.value).startswith("to_torch: ")


def test_the_module_itself_at_fault():
    with pytest.raises(ValueError, match="^from_torch: the module, Bilinear: chainrule has no such class"):
        from_torch(torch.nn.Bilinear(2, 2, 1))
    with pytest.raises(TypeError, match="^from_torch: takes a PyTorch module, not ReLU"):
        from_torch(nn.ReLU())
    with pytest.raises(TypeError, match="^to_torch: takes a chainrule module, not Tensor"):
        to_torch(torch.ones(2))


def test_a_name_that_is_taken_on_the_other_side():
    with pytest.raises(ValueError, match="'_hooks', ReLU: chainrule's ModuleDict cannot hold '_hooks'"):
        from_torch(torch.nn.ModuleDict({"_hooks": torch.nn.ReLU()}))
    with pytest.raises(ValueError, match="'type', ReLU: PyTorch's ModuleDict cannot hold 'type'"):
        to_torch(nn.ModuleDict({"type": nn.ReLU()}))


def test_single_tensors_need_no_help():
    theirs = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    ours = chainrule.tensor(theirs.numpy())
    assert (ours.dtype, ours.tolist()) == (np.float64, [[1.0, 2.0]])
    assert torch.equal(torch.from_dlpack(ours), theirs)


FOREIGN = {
    "add": (lambda x, t: x + t, "add: takes tensors, arrays and numbers, not torch.Tensor"),
    "add on the right": (lambda x, t: t + x, "add: takes tensors, arrays and numbers, not torch.Tensor"),
    "in place": (lambda x, t: x.add_(t), "add: takes tensors, arrays and numbers, not torch.Tensor"),
    "matmul": (lambda x, t: x @ t.T, "matmul: takes tensors or arrays, not torch.Tensor"),
    "linear": (lambda x, t: nn.Linear(3, 2)(t), "linear: both must have the same type, not torch.float32 and float32"),
    "cat": (lambda x, t: chainrule.cat([x, t]), "cat: takes tensors or arrays, not torch.Tensor"),
    "exp": (lambda x, t: chainrule.exp(t), "exp: takes tensors or arrays, not torch.Tensor"),
    "a loss": (lambda x, t: nn.functional.mse_loss(x, t), "mse_loss: takes tensors or arrays, not torch.Tensor"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_tensor_of_pytorch_is_named_where_it_does_not_belong(name):
    function, sentence = FOREIGN[name]
    with pytest.raises(TypeError, match=re.escape(sentence)):
        function(chainrule.ones(2, 3), torch.ones(2, 3))


def test_statistics_that_are_no_longer_tracked_stay_so():
    for from_ours in (True, False):
        ours, theirs = nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
        if from_ours:
            ours.track_running_stats = False
            theirs = to_torch(ours)
        else:
            theirs.track_running_stats = False
            ours = from_torch(theirs)
        x = np.random.default_rng(3).normal(2, 3, (5, 2)).astype("f4")
        for module, batch in ((ours, chainrule.from_numpy(x)), (theirs, torch.from_numpy(x))):
            assert not module.track_running_stats
            module(batch)
            assert module.running_mean.tolist() == [0, 0]
