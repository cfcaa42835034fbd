"""Layers, activations and losses as modules; functional ones are tested with the operations."""

from __future__ import annotations

import re

import numpy as np
import pytest

import chainrule
from chainrule import nn
from chainrule.autograd import gradcheck, gradgradcheck
from chainrule.nn import functional as F  # noqa: N812  # the field's name for it


class TestLinear:
    def test_is_a_product_and_a_bias(self):
        layer = nn.Linear(3, 2, dtype=np.float64)
        w, b = layer.weight.numpy(), layer.bias.numpy()
        for shape in [(3,), (4, 3), (2, 4, 3), (0, 3)]:
            x = np.random.default_rng(0).standard_normal(shape)
            out = layer(chainrule.tensor(x))
            assert out.shape == (*shape[:-1], 2)
            np.testing.assert_allclose(out.detach().numpy(), x @ w.T + b, rtol=1e-14)

    def test_without_bias(self):
        layer = nn.Linear(3, 2, bias=False)
        assert layer.bias is None
        assert [name for name, _ in layer.named_parameters()] == ["weight"]
        assert layer(chainrule.zeros(1, 3)).tolist() == [[0, 0]]

    def test_starts_evenly_within_its_bound(self):
        layer = nn.Linear(100, 1000, generator=np.random.default_rng(0))
        for p in (layer.weight, layer.bias):
            values = p.numpy()
            assert np.abs(values).max() <= np.float32(0.1)
            assert np.abs(values).max() > 0.099
            assert values.std() == pytest.approx(0.1 / 3**0.5, rel=0.03)
            assert (values.dtype, p.requires_grad) == (np.float32, True)

    def test_the_same_generator_gives_the_same_bits(self):
        def draw(**options) -> list[bytes]:
            return [
                p.numpy().tobytes()
                for p in nn.Sequential(nn.Linear(3, 4, **options), nn.Linear(4, 2, **options)).parameters()
            ]

        chainrule.manual_seed(1)
        first = draw()
        chainrule.manual_seed(1)
        assert draw() == first != draw()
        assert draw(generator=np.random.default_rng(2)) == draw(generator=np.random.default_rng(2)) != first

    def test_sizes(self):
        for sizes in ((-1, 2), (2, -1)):
            with pytest.raises(ValueError, match=f"Linear: (in|out)_features must be at least 0, not {min(sizes)}"):
                nn.Linear(*sizes)

    @pytest.mark.parametrize(("inside", "outside", "batch"), [(0, 3, 2), (3, 0, 2), (3, 2, 0), (0, 0, 0)])
    def test_of_nothing(self, inside, outside, batch):
        layer = nn.Linear(inside, outside)
        out = layer(chainrule.ones(batch, inside, requires_grad=True))
        assert out.shape == (batch, outside)
        out.sum().backward()
        assert layer.weight.grad.shape == (outside, inside)
        assert layer.bias.grad.tolist() == [batch] * outside


class TestDropout:
    def test_keeps_the_mean_and_drops_the_share(self):
        layer = nn.Dropout(0.3, generator=np.random.default_rng(0))
        out = layer(chainrule.ones(1000, 100)).numpy()
        assert set(np.unique(out)) == {0, np.float32(1 / 0.7)}
        assert (out == 0).mean() == pytest.approx(0.3, abs=0.005)
        assert out.mean() == pytest.approx(1, abs=0.01)
        assert out.dtype == np.float32

    def test_does_nothing_when_used_or_with_p_0(self):
        x = chainrule.ones(10)
        assert nn.Dropout(0.5).eval()(x) is x
        assert nn.Dropout(0.0)(x) is x
        assert F.dropout(x, 0.5, training=False) is x

    def test_drops_everything_with_p_1(self):
        assert nn.Dropout(1.0)(chainrule.ones(5)).tolist() == [0] * 5

    def test_p_must_be_a_probability(self):
        for p in (-0.1, 1.1, float("nan")):
            with pytest.raises(ValueError, match="p must be a probability from 0 to 1, not"):
                nn.Dropout(p)
            with pytest.raises(ValueError, match="p must be a probability from 0 to 1, not"):
                F.dropout(chainrule.ones(2), p)

    def test_draws_again_each_time_and_the_same_from_the_same_seed(self):
        layer = nn.Dropout(generator=np.random.default_rng(5))
        first = [layer(chainrule.ones(50)).tolist() for _ in range(2)]
        assert first[0] != first[1]
        layer.generator = np.random.default_rng(5)
        assert [layer(chainrule.ones(50)).tolist() for _ in range(2)] == first
        chainrule.manual_seed(1)
        plain = nn.Dropout()(chainrule.ones(50)).tolist()
        chainrule.manual_seed(1)
        assert nn.Dropout()(chainrule.ones(50)).tolist() == plain

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_keeps_the_type_and_takes_single_numbers(self, dtype):
        assert nn.Dropout(0.5)(chainrule.ones((), dtype=dtype)).dtype == dtype


class TestDropout2d:
    @pytest.mark.parametrize("shape", [(200, 30, 4, 5), (200, 30, 3), (200, 30)], ids=str)
    def test_drops_whole_channels_of_each_example_by_itself(self, shape):
        x = 1 + np.random.default_rng(1).random(shape).astype(np.float32)
        out = nn.Dropout2d(0.3, generator=np.random.default_rng(0))(chainrule.tensor(x)).numpy()
        factors = (out / x).reshape(200, 30, -1)
        np.testing.assert_allclose(factors, np.broadcast_to(factors[:, :, :1], factors.shape), rtol=1e-6)
        dropped = factors[:, :, 0] == 0
        np.testing.assert_allclose(factors[:, :, 0][~dropped], 1 / 0.7, rtol=1e-6)
        assert dropped.mean() == pytest.approx(0.3, abs=0.02)
        assert len({row.tobytes() for row in dropped}) > 190  # not the same channels of every example

    def test_does_nothing_when_used_or_with_p_0(self):
        x = chainrule.ones(2, 3, 4, 4)
        assert nn.Dropout2d(0.5).eval()(x) is x
        assert nn.Dropout2d(0.0)(x) is x
        assert F.dropout2d(x, 0.5, training=False) is x

    def test_wants_channels(self):
        with pytest.raises(ValueError, match=r"dropout2d: input must be \(N, C, ...\), not \(3,\)"):
            F.dropout2d(chainrule.ones(3))


class TestSequential:
    def test_passes_from_one_to_the_next(self):
        x = chainrule.tensor([[-1.0, 2.0]])
        assert nn.Sequential(nn.ReLU(), nn.Flatten(0))(x).tolist() == [0, 2]
        assert nn.Sequential()(x) is x

    def test_is_indexed_like_a_list_and_keeps_the_names(self):
        parts = [nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 2)]
        network = nn.Sequential(*parts)
        assert [len(network), network[0], network[-1], list(network)] == [3, parts[0], parts[2], parts]
        assert list(network[1:].state_dict()) == ["2.weight", "2.bias"]
        assert network[:1](chainrule.ones(1, 1)).shape == (1, 1)
        with pytest.raises(IndexError):
            network[3]

    def test_takes_names(self):
        network = nn.Sequential({"hidden": nn.Linear(2, 2), "out": nn.Linear(2, 1)})
        assert list(network.state_dict()) == ["hidden.weight", "hidden.bias", "out.weight", "out.bias"]
        assert network.hidden is network[0]

    def test_names_and_parts_that_do_not_fit(self):
        for name in ("forward", "training", "a.b"):
            with pytest.raises(ValueError, match=f"Sequential: the name '{name}' is in use or contains a dot"):
                nn.Sequential({name: nn.ReLU()})
        with pytest.raises(TypeError, match="Sequential: '1' is a function, not a Module"):
            nn.Sequential(nn.ReLU(), lambda x: x)


class TestActivationsAndFlatten:
    @pytest.mark.parametrize(
        ("module", "function"),
        [
            (nn.ReLU(), F.relu),
            (nn.LeakyReLU(), F.leaky_relu),
            (nn.LeakyReLU(0.2), lambda x: F.leaky_relu(x, negative_slope=0.2)),
            (nn.Sigmoid(), F.sigmoid),
            (nn.Tanh(), F.tanh),
            (nn.Softmax(), lambda x: F.softmax(x, dim=-1)),
            (nn.Softmax(dim=0), lambda x: F.softmax(x, dim=0)),
            (nn.Flatten(), lambda x: x.flatten(1)),
            (nn.Flatten(0, 1), lambda x: x.flatten(0, 1)),
        ],
    )
    def test_are_the_functions(self, module, function):
        x = chainrule.randn(3, 2, 4, generator=np.random.default_rng(0))
        np.testing.assert_array_equal(module(x).numpy(), function(x).numpy())
        assert not list(module.parameters())

    def test_flatten_of_what_has_too_few_dimensions(self):
        with pytest.raises(IndexError, match=re.escape("flatten: dim 1 is out of range for shape (784,): use -1 to 0")):
            nn.Flatten()(chainrule.zeros(784))


def test_options_are_taken_in_order_by_name_and_no_others():
    x = chainrule.tensor([-3.0, -0.5, 4.0])
    assert nn.Hardtanh(-2, max_val=1)(x).tolist() == [-2, -0.5, 1]
    assert nn.Softplus(2.0, threshold=1.0)(x).tolist() == F.softplus(x, beta=2.0, threshold=1.0).tolist()
    with pytest.raises(TypeError, match="slope"):
        nn.LeakyReLU(slope=0.1)


def test_a_parameter_may_be_in_a_list_twice():
    p = nn.Parameter([1.0])
    twice = nn.ParameterList([p, p])
    assert (len(twice), twice[1] is p, len(list(twice.parameters()))) == (2, True, 1)


class TestLosses:
    def test_are_the_functions(self):
        scores, labels = chainrule.randn(4, 3), np.array([0, 2, 1, 1])
        target = F.one_hot(labels, 3)
        for reduction in ("mean", "sum", "none"):
            assert (
                nn.CrossEntropyLoss(reduction=reduction)(scores, labels).tolist()
                == F.cross_entropy(scores, labels, reduction=reduction).tolist()
            )
            assert (
                nn.MSELoss(reduction=reduction)(scores, target).tolist()
                == F.mse_loss(scores, target, reduction).tolist()
            )

    @pytest.mark.parametrize("kind", [nn.CrossEntropyLoss, nn.MSELoss])
    def test_a_reduction_that_does_not_exist(self, kind):
        with pytest.raises(
            ValueError, match=f"""{kind.__name__}: reduction must be one of "mean", "sum", "none", not 'max'"""
        ):
            kind(reduction="max")

    def test_probabilities_of_the_label_alone_are_the_label(self):
        scores, labels = chainrule.randn(5, 3), np.array([0, 2, 1, 1, 0])
        np.testing.assert_allclose(
            F.cross_entropy(scores, F.one_hot(labels, 3).float()).item(),
            F.cross_entropy(scores, labels).item(),
            rtol=1e-6,
        )


def test_a_whole_network_twice_differentiable():
    generator = np.random.default_rng(0)
    network = nn.Sequential(
        nn.Linear(2, 3, generator=generator), nn.Tanh(), nn.Linear(3, 2, generator=generator)
    ).double()
    x = chainrule.randn(4, 2, generator=generator, dtype=np.float64, requires_grad=True)

    def loss(x, *parameters):
        return F.cross_entropy(network(x), np.array([0, 1, 1, 0])) + F.mse_loss(network(x), chainrule.ones(4, 2))

    inputs = [x, *network.parameters()]
    assert gradcheck(loss, inputs, atol=1e-8, rtol=1e-6)
    assert gradgradcheck(loss, inputs, atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: nn.Linear(2.5, 3), TypeError, "Linear: in_features: takes one or more integers, not 2.5"),
        (lambda: nn.Conv2d(1, 1, 0), ValueError, "Conv2d: kernel_size must be one or two numbers, at least 1, not 0"),
        (lambda: nn.Conv2d(1, 1, (3, -1)), ValueError, "Conv2d: kernel_size must be one or two numbers, at least 1"),
        (lambda: nn.Conv2d(1, 1, (1, 2, 3)), ValueError, "Conv2d: kernel_size must be one or two numbers, at least 1"),
        (lambda: nn.Conv2d(1, 1, "a"), TypeError, "Conv2d: kernel_size: takes one or more integers, not 'a'"),
        (lambda: nn.Conv2d(1, -1, 3), ValueError, "Conv2d: out_channels must be at least 0, not -1"),
        (lambda: nn.Conv1d(1, 1, 3, stride=0), ValueError, "Conv1d: stride must be one number, at least 1, not 0"),
        (lambda: nn.BatchNorm1d(-3), ValueError, "BatchNorm1d: num_features must be at least 0, not -3"),
        (lambda: nn.Embedding(-1, 2), ValueError, "Embedding: num_embeddings must be at least 0, not -1"),
        (lambda: nn.LayerNorm((2, -3)), ValueError, "LayerNorm: normalized_shape must be at least 0, not (2, -3)"),
        (lambda: nn.RMSNorm(2.5), TypeError, "RMSNorm: normalized_shape: takes one or more integers, not 2.5"),
        (lambda: nn.GroupNorm("a", 3), TypeError, "GroupNorm: num_groups: takes one or more integers, not 'a'"),
        (lambda: nn.MultiheadAttention(-4, 2), ValueError, "MultiheadAttention: embed_dim must be at least 0, not -4"),
        (
            lambda: nn.MultiheadAttention(4, 2, 3),
            ValueError,
            "MultiheadAttention: p must be a probability from 0 to 1, not 3",
        ),
        (lambda: nn.Dropout("a"), ValueError, "Dropout: p must be a probability from 0 to 1, not 'a'"),
    ],
)
def test_sizes_that_make_no_layer(make, error, sentence):
    with pytest.raises(error, match=re.escape(sentence)):
        make()


def test_a_kernel_may_be_a_list():
    assert nn.Conv2d(1, 2, [3, 5]).weight.shape == (2, 1, 3, 5)
    assert nn.Conv1d(1, 2, [3]).weight.shape == (2, 1, 3)


def test_attention_names_the_shapes_that_do_not_fit():
    layer, x = nn.MultiheadAttention(4, 2), chainrule.ones(3, 1, 4)
    for key, value in (((5, 1, 4), (6, 1, 4)), ((5, 2, 4), (5, 2, 4)), ((4,), (4,))):
        with pytest.raises((ValueError, IndexError), match="inputs must be|out of range"):
            layer(x, chainrule.ones(*key), chainrule.ones(*value))


class TestNothingIsChangedByACallThatFails:
    def test_batch_norm_counts_no_batch_that_it_refused(self):
        for layer in (nn.BatchNorm1d(2), nn.BatchNorm1d(2, momentum=None)):
            before = {name: value.tolist() for name, value in layer.state_dict().items()}
            with pytest.raises(ValueError, match="needs more than one value per channel"):
                layer(chainrule.ones(1, 2))
            assert {name: value.tolist() for name, value in layer.state_dict().items()} == before
            layer(chainrule.tensor([[1.0, 2], [3, 6]]))
            assert layer.num_batches_tracked.item() == 1

    def test_a_state_is_taken_over_whole_or_not_at_all(self):
        layer = nn.Linear(2, 3)
        before = layer.weight.tolist()
        for bias in (np.array(["a", "b", "c"]), np.zeros(3, complex)):
            with pytest.raises(ValueError, match=r"does not fit Linear: wrong type: bias is .*, must be float32"):
                layer.load_state_dict({"weight": np.zeros((3, 2)), "bias": bias})
            assert layer.weight.tolist() == before
        with pytest.raises(TypeError, match="load_state_dict: takes a dict of tensors by path, not a list"):
            layer.load_state_dict([1])

    def test_a_list_of_modules_grows_by_all_or_none(self):
        modules = nn.ModuleList([nn.ReLU()])
        with pytest.raises(TypeError, match="ModuleList: '2' is a int, not a Module"):
            modules.extend([nn.ReLU(), 3])
        assert len(modules) == 1

    def test_a_buffer_is_a_tensor(self):
        module = nn.ReLU()
        with pytest.raises(TypeError, match="register_buffer: 'z' must be a Tensor, not int"):
            module.register_buffer("z", 3)
        assert not hasattr(module, "z")


class TestBatchNormThatStopsTracking:
    def test_in_training(self):
        layer = nn.BatchNorm1d(2)
        layer(chainrule.tensor([[1.0, 2], [3, 6]]))
        before = {name: value.tolist() for name, value in layer.state_dict().items()}
        layer.track_running_stats = False
        out = layer(chainrule.tensor([[5.0, 1], [7, 2]]))
        assert {name: value.tolist() for name, value in layer.state_dict().items()} == before
        np.testing.assert_allclose(out.detach().numpy(), [[-1, -1], [1, 1]], rtol=1e-4)
        layer.eval()
        mean, var = (np.array(before[name]) for name in ("running_mean", "running_var"))
        expected = (np.array([[5.0, 1], [7, 2]]) - mean) / np.sqrt(var + layer.eps)
        np.testing.assert_allclose(layer(chainrule.tensor([[5.0, 1], [7, 2]])).detach().numpy(), expected, rtol=1e-5)
        layer.train().track_running_stats = True
        layer(chainrule.tensor([[5.0, 1], [7, 2]]))
        assert layer.num_batches_tracked.item() == 2

    def test_without_statistics_from_the_start(self):
        layer = nn.BatchNorm1d(2, track_running_stats=False)
        assert not layer.track_running_stats
        layer.track_running_stats = True  # there is nothing to track in
        for _ in range(2):
            assert layer(chainrule.tensor([[5.0, 1], [7, 2]])).sum().item() == pytest.approx(0, abs=1e-6)
            layer.eval()
        assert not layer.state_dict().keys() - {"weight", "bias"}


class TestPaddingThatIsNone:
    @pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv2d])
    def test_words(self, kind):
        for padding, stride in (("not_same", 1), ("same", 2), ("full", 1)):
            with pytest.raises(
                ValueError, match=f'{kind.__name__}: padding must be a number, "valid", or "same" with stride 1'
            ):
                kind(1, 1, 3, stride, padding)
        assert kind(1, 1, 3, padding="same").padding == "same"
        assert kind(1, 1, 3, 2, "valid").padding == "valid"

    def test_numbers(self):
        for kind, padding in ((nn.Conv2d, -1), (nn.Conv2d, (1, 2, 3)), (nn.ConvTranspose2d, -1)):
            with pytest.raises(ValueError, match=f"{kind.__name__}: padding must be one or two numbers, at least 0"):
                kind(1, 1, 3, padding=padding)
        with pytest.raises(TypeError, match="ConvTranspose2d: padding: takes one or more integers, not 'same'"):
            nn.ConvTranspose2d(1, 1, 3, padding="same")

    def test_repr_shows_the_output_padding(self):
        layer = nn.ConvTranspose2d(1, 2, 3, stride=2, output_padding=1)
        assert repr(layer) == "ConvTranspose2d(1, 2, kernel_size=(3, 3), stride=2, output_padding=1)"
        assert repr(nn.ConvTranspose1d(1, 2, 3)) == "ConvTranspose1d(1, 2, kernel_size=(3,))"


class TestMasksOfAttention:
    def test_shapes(self):
        layer, x = nn.MultiheadAttention(4, 2, batch_first=True), chainrule.ones(3, 3, 4)
        for mask in (chainrule.zeros(3).bool(), chainrule.zeros(9).bool(), chainrule.zeros(1, 3).bool()):
            with pytest.raises(ValueError, match=r"key_padding_mask must have shape \(3, 3\), not"):
                layer(x, x, x, mask)
        for mask in (chainrule.zeros(3), chainrule.zeros(1, 3), chainrule.zeros(2, 3, 3), chainrule.zeros(3, 3, 3)):
            with pytest.raises(ValueError, match=r"attn_mask must have shape \(3, 3\) or \(6, 3, 3\), not"):
                layer(x, x, x, attn_mask=mask)
        with pytest.raises(ValueError, match=r"key_padding_mask must have shape \(3,\), not \(1, 3\)"):
            layer(x[0], x[0], x[0], chainrule.zeros(1, 3).bool())
        for mask in (chainrule.zeros(3, 3).long(), chainrule.zeros(6, 3, 3).long()):
            with pytest.raises(TypeError, match="attn_mask must be boolean or floating, not int64"):
                layer(x, x, x, attn_mask=mask)
        with pytest.raises(TypeError, match="key_padding_mask must be boolean or floating, not int64"):
            layer(x, x, x, chainrule.zeros(3, 3).long())

    def test_keys_that_do_not_count(self):
        layer = nn.MultiheadAttention(4, 2, batch_first=True, generator=np.random.default_rng(0))
        x = chainrule.randn(2, 3, 4, generator=np.random.default_rng(1))
        mask = chainrule.tensor([[False, False, True], [True, False, False]])
        out, weights = layer(x, x, x, mask)
        assert (weights.detach().numpy() == 0).any(1).tolist() == mask.tolist()
        for i, kept_indices in enumerate(([0, 1], [1, 2])):
            alone, _ = layer(x[i], x[i][kept_indices], x[i][kept_indices])
            np.testing.assert_allclose(out[i].detach().numpy(), alone.detach().numpy(), rtol=1e-5, atol=1e-6)
            single, _ = layer(x[i], x[i], x[i], mask[i])
            np.testing.assert_allclose(single.detach().numpy(), alone.detach().numpy(), rtol=1e-5, atol=1e-6)
