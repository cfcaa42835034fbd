"""Names that users of PyTorch, NumPy and Keras type by habit: they work, or the error names ours."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import chainrule
from chainrule import nn, no_grad, ops
from chainrule.nn import functional as F  # noqa: N812  # the field's name for it

X = np.array([[1.5, -2.0, 0.5], [3.0, 0.25, -1.0]])


@pytest.fixture
def x():
    return chainrule.tensor(X)


# axis and keepdims

DIMENSIONED = [
    name
    for name in ops.__all__
    if name not in ("NUMPY_FUNCTIONS", "Operation", "operation")
    and name not in ("standardize", "vector_norm")  # they need more options
    and "dim" in inspect.signature(getattr(ops, name)).parameters
]
ARGUMENTS = {
    "gather": (np.array([[0, 1, 0]]),), "take_along_dim": (np.array([[0, 1, 0]]),), "index_select": (np.array([1]),),
    "scatter": (np.array([[0]]), 1.0), "scatter_reduce": (np.array([[0]]), np.array([[2.0]]), "sum"), "split": (1,),
    "chunk": (2,), "unflatten": ((1, 2),), "topk": (1,), "repeat_interleave": (2,), "narrow": (0, 1), "select": (0,),
}  # fmt: skip


def results(value):
    return [part.tolist() for part in value] if isinstance(value, (tuple, list)) else value.tolist()


def test_every_operation_along_a_dimension_is_looked_at():
    assert len(DIMENSIONED) >= 40
    assert set(ARGUMENTS) <= set(DIMENSIONED)


@pytest.mark.parametrize("name", DIMENSIONED)
def test_axis_is_another_name_of_dim(name, x):
    function = getattr(ops, name)
    names = [p for p in inspect.signature(function).parameters if p != "dim"]
    first = [x, x] if name in ("cat", "stack") else x
    given = dict(zip(names[1:], ARGUMENTS.get(name, ()), strict=False))
    options = {"keepdims": True} if "keepdim" in names else {}
    renamed = {{"keepdims": "keepdim"}.get(key, key): value for key, value in options.items()}
    wanted = function(first, dim=0, **given, **renamed)
    assert results(function(first, axis=0, **given, **options)) == results(wanted)
    if hasattr(chainrule.Tensor, name):
        assert results(getattr(x, name)(axis=0, **given, **options)) == results(wanted)
    with pytest.raises(TypeError, match=f"^{name}: axis is another name for dim: pass one of them$"):
        function(first, dim=0, axis=0, **given)


def test_both_names_by_position_and_by_name(x):
    with pytest.raises(
        TypeError, match=r"^sum: got dim both by position and by name; it takes input, dim, keepdim, dtype$"
    ):
        x.sum(0, axis=0)
    with pytest.raises(TypeError, match=r"^mean: keepdims is another name for keepdim: pass one of them$"):
        x.mean(0, keepdim=True, keepdims=True)


def test_an_operation_of_ones_own_may_have_an_axis():
    @ops.operation(input_count=1)
    def shifted(input, axis=0, dim=1):
        return np.roll(input, dim, axis)

    assert shifted(chainrule.tensor([1.0, 2, 3]), axis=0, dim=2).tolist() == [2, 3, 1]


# inplace

IN_PLACE = [
    F.relu,
    F.relu6,
    F.leaky_relu,
    F.elu,
    F.celu,
    F.selu,
    F.silu,
    F.mish,
    F.hardtanh,
    F.hardsigmoid,
    F.hardswish,
]
LAYERS = [nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.SiLU, nn.Mish, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish]  # fmt: skip


@pytest.mark.parametrize(("function", "layer"), [*zip(IN_PLACE, LAYERS, strict=True)], ids=lambda f: f.__name__)
def test_the_result_is_written_into_the_input(function, layer, x):
    wanted = function(x).tolist()
    for run in (lambda y: function(y, inplace=True), layer(inplace=True), nn.Sequential(layer(inplace=True))):
        given = chainrule.tensor(X)
        assert run(given) is given
        assert given.tolist() == wanted
    array = X.copy()
    assert function(array, inplace=True) is array
    np.testing.assert_allclose(array, wanted)
    assert (repr(layer(inplace=True)).endswith("inplace=True)"), "inplace" in repr(layer())) == (True, False)
    leaf = chainrule.tensor(X, requires_grad=True)
    (plain,) = chainrule.grad((function(leaf * 1) ** 2).sum(), leaf)
    hidden = leaf * 1
    function(hidden, inplace=True)
    np.testing.assert_array_equal(chainrule.grad((hidden**2).sum(), leaf)[0].numpy(), plain.numpy())
    with pytest.raises(RuntimeError, match="a tensor that requires gradients cannot be changed in place while"):
        function(leaf, inplace=True)
    with pytest.raises(TypeError, match=f"^{function.__name__}: inplace must be True or False, not 'yes'$"):
        function(x, inplace="yes")


def test_in_place_in_a_compiled_function(x):
    weight = chainrule.tensor(X, requires_grad=True)

    @chainrule.jit
    def step(x):
        weight.grad = None
        hidden = weight * x
        out = F.relu(hidden, inplace=True)
        (out * hidden).sum().backward()
        return hidden

    for factor in (1.0, -1.0):
        hidden = step(x * factor)
        np.testing.assert_array_equal(hidden.numpy(), np.maximum(X * X * factor, 0))
        np.testing.assert_allclose(weight.grad.numpy(), 2 * hidden.numpy() * X * factor)


def test_an_integer_stays_an_integer():
    integers = chainrule.tensor([-2, 3, 9])
    assert F.relu6(integers, inplace=True).tolist() == integers.tolist() == [0, 3, 6]
    with pytest.raises(TypeError, match="hardtanh: an in-place change cannot turn int64 into float32"):
        F.hardtanh(integers, inplace=True)


def test_dropout_in_place():
    for function, layer in ((F.dropout, nn.Dropout), (F.dropout2d, nn.Dropout2d)):
        given = chainrule.ones(4, 5)
        assert layer(0.5, inplace=True)(given) is given
        assert set(given.numpy().ravel().tolist()) == {0.0, 2.0}
        with pytest.raises(
            TypeError, match="inplace must be True or False, not a Generator: pass the generator by name"
        ):
            function(given, 0.5, True, np.random.default_rng(0))


# Methods


def test_methods(x):
    assert x.t().tolist() == X.T.tolist()
    assert x.view_as(chainrule.ones(3, 2)).tolist() == X.reshape(3, 2).tolist()
    assert chainrule.ones(1, 3).expand_as(x).shape == (2, 3)
    assert x.narrow(1, -2, 2).tolist() == X[:, 1:].tolist()
    assert x.select(0, -1).tolist() == X[1].tolist()
    assert x.unfold(1, 2, 1).tolist() == [[[1.5, -2.0], [-2.0, 0.5]], [[3.0, 0.25], [0.25, -1.0]]]
    assert x.contiguous() is x
    assert x.T.contiguous().numpy().flags.c_contiguous
    assert (x.arcsinh().tolist(), x.diag(1).tolist(), x.trace().item()) == (np.arcsinh(X).tolist(), [-2, -1], 1.75)
    view = x.narrow(0, 0, 1)
    view.zero_()
    assert x[0].tolist() == [0, 0, 0]
    for call, message in [
        (lambda: x.narrow(1, 2, 2), r"narrow: start 2 and length 2 exceed the size 3 of dim 1"),
        (lambda: x.narrow(1, 4, 1), r"narrow: start 4 is out of range for size 3"),
        (lambda: x.select(1, 3), r"select: index 3 is out of range for size 3 of dim 1"),
        (lambda: x[None].t(), r"t: takes a matrix, not shape \(1, 2, 3\): use transpose or permute"),
        (lambda: x.unfold(1, 4, 1), r"unfold: a window of 4 is larger than dim 1 of \(2, 3\)"),
    ]:
        with pytest.raises((ValueError, IndexError), match=f"^{message}$"):
            call()


def test_no_grad_without_brackets():
    @no_grad
    def doubled(x):
        """Twice."""
        return 2 * x

    @no_grad
    def several(x):
        yield 2 * x

    @chainrule.enable_grad
    def recorded(x):
        return 2 * x

    leaf = chainrule.ones(2, requires_grad=True)
    assert (doubled(leaf).requires_grad, (2 * leaf).requires_grad, doubled.__doc__) == (False, True, "Twice.")
    assert [out.requires_grad for out in several(leaf)] == [False]
    with no_grad():
        assert recorded(leaf).requires_grad
    with pytest.raises(TypeError, match="^no_grad: takes no argument, or the function that it decorates, not 3$"):
        no_grad(3)


# Names of other libraries


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: chainrule.Tensor.zeros(2), "type object 'Tensor' has no attribute 'zeros': use chainrule.zeros(...)"),
        (lambda x: chainrule.Tensor.uniform(2), "type object 'Tensor' has no attribute 'uniform': use chainrule.rand(...)"),
        (lambda x: x.astype(np.float32), "'Tensor' object has no attribute 'astype': use to(dtype)"),
        (lambda x: x.copy(), "'Tensor' object has no attribute 'copy': use clone()"),
        (lambda x: x.gelu(), "'Tensor' object has no attribute 'gelu': use chainrule.gelu(tensor)"),
        (lambda x: x.realize(), "'Tensor' object has no attribute 'realize': leave it out: every operation runs at once"),
        (lambda x: nn.Linear(1, 1).save("m"), "'Linear' object has no attribute 'save': use chainrule.save(model.state_dict(), \"model.safetensors\")"),
        (lambda x: nn.Linear(1, 1).fit(x, x), "'Linear' object has no attribute 'fit': use chainrule.training.Trainer, or a loop over a DataLoader"),
        (lambda x: nn.Sequential().add(nn.ReLU()), "'Sequential' object has no attribute 'add': use append(module)"),
        (lambda x: chainrule.Linear, "module 'chainrule' has no attribute 'Linear': use chainrule.nn.Linear"),
        (lambda x: chainrule.Adam, "module 'chainrule' has no attribute 'Adam': use chainrule.optim.Adam"),
        (lambda x: chainrule.dropout, "module 'chainrule' has no attribute 'dropout': use chainrule.nn.functional.dropout"),
        (lambda x: chainrule.float32, "module 'chainrule' has no attribute 'float32': types are NumPy's: use numpy.float32"),
        (lambda x: chainrule.Generator, "module 'chainrule' has no attribute 'Generator': use numpy.random.default_rng(seed)"),
    ],
)  # fmt: skip
def test_the_error_names_ours(call, message, x):
    with pytest.raises(AttributeError) as error:
        call(x)
    assert str(error.value) == message


@pytest.mark.parametrize("table", ["PACKAGE", "TENSOR", "TENSOR_CLASS", "MODULE"])
def test_what_is_named_instead_is_there_and_the_name_is_not(table):
    from chainrule import habits

    owner = {"PACKAGE": chainrule, "TENSOR": chainrule.ones(1), "TENSOR_CLASS": chainrule.Tensor, "MODULE": nn.ReLU()}[
        table
    ]
    for name, hint in getattr(habits, f"{table}_HINTS").items():
        assert not hasattr(owner, name), name
        words = hint.format(name=name).replace("use ", "").split("(")[0].split(" ")[0].rstrip(",")
        if words.startswith(("chainrule.", "numpy.")):
            value = {"chainrule": chainrule, "numpy": np}[words.split(".")[0]]
            for part in words.split(".")[1:]:
                value = getattr(value, part)


def test_a_misspelled_name_is_still_answered_with_a_similar_one(x):
    with pytest.raises(AttributeError) as error:
        x.reshpe  # noqa: B018
    assert (error.value.name, error.value.obj) == ("reshpe", x)
    assert (hasattr(x, "banana"), hasattr(nn.ReLU(), "banana"), hasattr(chainrule, "banana")) == (False, False, False)


def test_a_property_that_fails_says_why():
    class Broken(nn.Module):
        @property
        def width(self):
            return self.missing_size

    with pytest.raises(AttributeError, match="'Broken' object has no attribute 'missing_size'"):
        Broken().width  # noqa: B018


def test_data_and_files_of_other_habits(tmp_path):
    labels = np.zeros(2, int)
    with pytest.raises(
        TypeError, match=r"^DataLoader: takes one data set: DataLoader\(TensorDataset\(X, y\), batch_size=64\)"
    ):
        chainrule.data.DataLoader(X, labels)
    with pytest.raises(
        TypeError, match=r"^save: takes a dict of tensors by name, not Linear: save\(model.state_dict\(\), "
    ):
        chainrule.save(nn.Linear(1, 1))
    with pytest.raises(
        TypeError, match=r"^save: takes the tensors first, then the path: save\(model.state_dict\(\), path\)$"
    ):
        chainrule.save(str(tmp_path / "x"), {})
    with pytest.raises(TypeError, match=r'^save: takes a path, such as "model.safetensors"; got int$'):
        chainrule.save({}, 3)
    with pytest.raises(TypeError, match=r'^save: takes a path, such as "model.safetensors"; got no path$'):
        chainrule.save({})
