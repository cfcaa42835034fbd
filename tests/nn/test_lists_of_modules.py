"""Sequential and ModuleList as lists; states that fit in part; tables of given vectors."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule import nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'chainrule[torch]'")

CHANGES = {
    "append": lambda n, m: m.append(n.Linear(3, 1)),
    "extend": lambda n, m: m.extend([n.ReLU(), n.Linear(3, 1)]),
    "insert": lambda n, m: m.insert(1, n.Linear(3, 3)),
    "insert at the end": lambda n, m: m.insert(3, n.Linear(3, 3)),
    "insert before the last": lambda n, m: m.insert(2, n.Linear(3, 3)),
    "del": lambda n, m: m.__delitem__(0),
    "del from the end": lambda n, m: m.__delitem__(-1),
    "del a slice": lambda n, m: m.__delitem__(slice(1, None)),
    "set": lambda n, m: m.__setitem__(1, n.Linear(3, 3)),
    "pop": lambda n, m: m.pop(0),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("container", ["Sequential", "ModuleList"])
def test_changes_and_the_names_after_them(container, change):
    """The modules and their names are PyTorch's: a module keeps its values, its name is its position."""

    def changed(library):
        modules = [library.Linear(2, 3), library.ReLU(), library.Linear(3, 4)]
        built = getattr(library, container)(*modules if container == "Sequential" else [modules])
        CHANGES[change](library, built)
        return [(name, type(module).__name__) for name, module in built.named_children()], list(built.state_dict())

    assert changed(nn) == changed(torch.nn)


def test_values_move_with_their_modules():
    layers = [nn.Linear(2, 2) for _ in range(3)]
    model = nn.Sequential(*layers)
    model.insert(1, nn.Tanh())
    assert [module for module in model if isinstance(module, nn.Linear)] == layers
    assert model.state_dict()["3.weight"].tolist() == layers[2].weight.tolist()
    x = chainrule.ones(1, 2)
    np.testing.assert_array_equal(model(x).detach().numpy(), layers[2](layers[1](layers[0](x).tanh())).detach().numpy())
    both = model[:2] + model[2:]
    assert [*both] == [*model]
    assert list(both.state_dict()) == list(model.state_dict())
    assert [*nn.ModuleList(layers[:1]).__add__(layers[1:])] == layers
    model += [nn.ReLU()]
    assert (len(model), type(model.pop()).__name__, len(model)) == (5, "ReLU", 4)


def test_modules_with_names_of_their_own_keep_them():
    model = nn.Sequential({"first": nn.ReLU(), "second": nn.Tanh()})
    model.append(nn.Sigmoid())
    model.insert(0, nn.GELU())
    assert [name for name, _ in model.named_children()] == ["0", "first", "second", "3"]
    del model[1]
    assert [name for name, _ in model.named_children()] == ["0", "second", "2"]


def test_what_is_refused_changes_nothing():
    model = nn.Sequential(nn.ReLU(), nn.Tanh())
    for call, message in [
        (lambda: model.append(3), "Sequential: '2' is a int, not a Module"),
        (lambda: model.extend([nn.ReLU(), None]), "Sequential: '3' is a NoneType, not a Module"),
        (lambda: model.insert(5, nn.ReLU()), "Sequential: index 5 is out of range for 2 modules"),
        (lambda: model.__setitem__(0, "relu"), "Sequential: '0' is a str, not a Module"),
        (lambda: model + 3, "unsupported operand"),
    ]:
        with pytest.raises((TypeError, IndexError), match=message):
            call()
        assert [type(module).__name__ for module in model] == ["ReLU", "Tanh"]


def test_a_state_that_fits_in_part():
    ours, theirs = nn.Linear(2, 2), torch.nn.Linear(2, 2)
    state = {"weight": np.full((2, 2), 3.0, np.float32), "extra": np.ones(1, np.float32)}
    got = ours.load_state_dict(state, strict=False)
    wanted = theirs.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()}, strict=False)
    assert (
        (got.missing_keys, got.unexpected_keys)
        == (wanted.missing_keys, wanted.unexpected_keys)
        == (["bias"], ["extra"])
    )
    assert ours.weight.tolist() == [[3, 3], [3, 3]]
    assert ours.load_state_dict(ours.state_dict()) == ([], [])
    before = ours.bias.tolist()
    with pytest.raises(ValueError, match=r"wrong shape: weight is \(2, 3\), must be \(2, 2\)$"):
        ours.load_state_dict({"weight": np.ones((2, 3)), "bias": np.ones(2)}, strict=False)
    assert ours.bias.tolist() == before
    with pytest.raises(ValueError, match=r"missing: bias \(2,\); unknown: extra \(1,\)$"):
        ours.load_state_dict(state)


def test_a_table_of_given_vectors():
    vectors = chainrule.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    table = nn.Embedding.from_pretrained(vectors)
    assert table(chainrule.tensor([2, 0])).tolist() == [[5, 6], [1, 2]]
    assert (table.weight.requires_grad, table.num_embeddings, table.embedding_dim) == (False, 3, 2)
    vectors[0] = 0
    assert table.weight[0].tolist() == [0, 0]
    trained = nn.Embedding.from_pretrained(vectors, freeze=False, padding_idx=-1)
    trained(chainrule.tensor([1, 2, 1])).sum().backward()
    assert trained.weight.grad.tolist() == [[0, 0], [2, 2], [0, 0]]
    for call, message in [
        (
            lambda: nn.Embedding.from_pretrained(vectors[0]),
            r"Embedding.from_pretrained: takes \(num_embeddings, embedding_dim\), not \(2,\)",
        ),
        (lambda: nn.Embedding.from_pretrained([[1.0]]), "Embedding.from_pretrained: takes a Tensor, not list"),
        (lambda: nn.Embedding.from_pretrained(vectors.long()), "Embedding.from_pretrained: takes floats, not int64"),
        (lambda: nn.Embedding.from_pretrained(vectors, padding_idx=3), "padding_idx 3 is out of range for 3 vectors"),
    ]:
        with pytest.raises((TypeError, ValueError), match=message):
            call()


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"scale_factor": 2}, (2, 3, 4)),
        ({"size": 7, "mode": "linear"}, (2, 3, 4)),
        ({"scale_factor": 2, "mode": "bilinear", "align_corners": True}, (1, 2, 3, 5)),
        ({"size": (2, 7), "mode": "nearest-exact"}, (1, 2, 3, 5)),
        ({"scale_factor": (1.5, 0.7), "mode": "bilinear"}, (1, 2, 4, 5)),
    ],
)
def test_upsample_beside_pytorch(options, shape):
    x = np.random.default_rng(3).standard_normal(shape)
    ours, theirs = nn.Upsample(**options), torch.nn.Upsample(**options)
    leaf, other = chainrule.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    outs = [chainrule.jit(ours)(leaf.detach()), ours(leaf)]
    wanted = theirs(other)
    for out in outs:
        np.testing.assert_allclose(out.detach().numpy(), wanted.detach().numpy(), rtol=1e-12, atol=1e-12)
    ((outs[1] + 1) ** 2).mean().backward()
    ((wanted + 1) ** 2).mean().backward()
    np.testing.assert_allclose(leaf.grad.numpy(), other.grad.numpy(), rtol=1e-10, atol=1e-12)


def test_what_cannot_be_resized():
    image = chainrule.ones(1, 1, 2, 2)
    for options, message in [
        ({}, "needs either size or scale_factor"),
        ({"size": 3, "scale_factor": 2}, "needs either size or scale_factor"),
        (
            {"size": 3, "mode": "bicubic"},
            "'mode' must be one of nearest, nearest-exact, linear, bilinear, trilinear, not 'bicubic'",
        ),
        ({"size": 3, "mode": "linear"}, r"mode 'linear' takes \(N, C, L\), where only N may be 0, not \(1, 1, 2, 2\)"),
        ({"size": 3, "align_corners": True}, "align_corners is for the linear modes, not for 'nearest'"),
        ({"scale_factor": 0.1}, r"needs 2 sizes of at least 1 for input \(1, 1, 2, 2\), not \(0, 0\)"),
        ({"scale_factor": -1}, "scale_factor must be a positive number, not -1"),
        ({"size": (3, 3, 3)}, r"needs 2 sizes of at least 1 for input \(1, 1, 2, 2\), not \(3, 3, 3\)"),
    ]:
        with pytest.raises(ValueError, match=f"^interpolate: {message}$"):
            nn.functional.interpolate(image, **options)


def test_infinity_stays_where_it_is():
    """Only the neighbors of an infinite pixel are changed by it."""
    image = np.ones((1, 1, 1, 6), np.float32)
    image[..., 5] = np.inf
    out = nn.functional.interpolate(chainrule.tensor(image), size=(1, 12), mode="bilinear")
    assert out.numpy()[0, 0, 0, :8].tolist() == [1] * 8
