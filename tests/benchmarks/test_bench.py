"""The bookkeeping of `make bench`: FLOPs, medians, ratios, the table, the document, libraries that are missing."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import chainrule

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def _benchmarks_are_found():
    """The scripts import each other as they do when they are run."""
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))


@pytest.fixture
def works():
    import works

    return works


@pytest.fixture
def report():
    import report

    return report


@pytest.fixture
def bench():
    import bench

    return bench


@pytest.fixture
def found(works, report):
    """W1, measured in blocks of made-up times."""
    measured = {
        "chainrule": {"eager": [[8e-5], [9e-5]], "jit": [[2e-5, 2e-5, 3e-5], [2e-5, 1e-5]]},
        "PyTorch": {"eager": [[3e-4], [2e-4]], "fused": [[1e-4, 1.6e-4], [1.42e-4]]},
        "JAX": {"jit": [[6e-5], [6e-5]]},
        "scikit-learn": {},
    }
    failed = {"PyTorch": {"torch.compile": "there is no C++ compiler"}, "JAX": {}}
    return report.result(works.WORKS["W1"], measured, failed)


# FLOPs


def test_flops_of_the_dense_network(works):
    """Counted product by product: forward, both gradients of the weights, and the gradient of the hidden layer."""
    forward = [(10, 784, 30), (10, 30, 10)]
    backward = [(784, 10, 30), (30, 10, 10), (10, 10, 30)]
    assert works.WORKS["W1"].flops == sum(2 * np.prod(sizes) for sizes in forward + backward)


def test_flops_of_the_cnn(works):
    first, second, last = 2 * 28 * 28 * 32 * 25, 2 * 14 * 14 * 64 * 32 * 25, 2 * 3136 * 10
    assert works.WORKS["W3"].flops == 64 * (2 * first + 3 * second + 3 * last)
    assert works.WORKS["W3"].flops == pytest.approx(4.0e9, rel=0.01)
    assert works.WORKS["W5-cnn-10000"].flops == 10_000 * (first + second + last)


def test_flops_of_the_language_model(works):
    """Each product of matrices of a forward pass, as sizes (rows, terms, columns)."""
    characters, heads = 12 * 64, 12 * 4
    attention = heads * (64 * 32 * 64 + 64 * 64 * 32)
    block = characters * (128 * 384 + 128 * 128 + 2 * 128 * 512) + attention
    assert works.WORKS["W8"].flops == 3 * 2 * (4 * block + characters * 128 * 65)


@pytest.fixture
def gpts(works):
    """The language model in both libraries, with the same weights; and PyTorch's module of it."""
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'chainrule[torch]'")
    from peers import ours, pytorch, torch_gpt

    work = works.WORKS["W8"]
    mine, theirs = ours.build(work), pytorch.build(work.model)
    theirs.token_embedding.weight.data *= 0.1  # otherwise positions matter so little that a text is one character
    mine.load_state_dict({name: value.numpy() for name, value in theirs.state_dict().items()})
    return mine.eval(), theirs.eval(), torch_gpt


def test_the_language_model_is_the_same_in_both_libraries(works, gpts):
    mine, theirs, torch_gpt = gpts
    texts, following = works.batches(works.WORKS["W8"], np.random.default_rng(0))[0]
    scores = theirs(torch_gpt.torch.from_numpy(texts))
    assert scores.shape == (*following.shape, works.TOKENS) == (12, 64, 65)
    np.testing.assert_allclose(
        mine(chainrule.from_numpy(texts)).detach().numpy(), scores.detach().numpy(), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("kind", ["GrowingCache", "PreallocatedCache", "CompiledCache"])
@pytest.mark.parametrize("prompt", [[0], [5, 9, 2]], ids=len)
def test_both_generate_the_same(works, gpts, kind, prompt, monkeypatch):
    mine, theirs, torch_gpt = gpts
    monkeypatch.setattr(torch_gpt.torch, "compile", lambda function, dynamic: function)  # compiling takes a minute
    cache = getattr(torch_gpt, kind)(theirs)
    tokens = torch_gpt.generate(cache, prompt, 60, greedy=True)
    assert tokens == list(chainrule.text.generate(mine, prompt, 60, temperature=0))
    assert len(set(tokens)) > 2


def test_only_products_are_counted(works):
    assert {work.key for work in works.WORKS.values() if not work.flops} == {
        "W2-cold", "W2-warm", "W4", "W4-process", "W6", "W6-import", "W7", "W9", "99", "train", "memory",
    }  # fmt: skip


def test_growth_is_growth(works):
    for row in works.GROWTH.values():
        flops = [work.flops for work in row]
        assert flops == sorted(set(flops))
        assert flops[-1] / flops[0] == {"batch": 4096, "width": 128}[row[0].group]


def test_pools(works):
    assert works.WORKS["W2"].pool == 50
    big = works.WORKS["batch-4096"]
    assert big.pool * big.batch * 784 * 4 <= works.POOL_BYTES
    assert all(work.pool >= 2 for work in works.WORKS.values() if work.kind == "train")


def test_every_process_has_its_function(works, bench):
    assert set(bench.PROCESSES) == {work.key for work in works.TABLE if work.kind == "process"}


# Medians and ratios


def test_summary(report):
    found = report.summary([[1.0, 2.0, 9.0], [4.0, 3.0]])
    assert found == {"median": 3.0, "low": 2.0, "high": 4.0, "steps": 5, "blocks": [2.0, 3.5]}


def test_summary_of_one(report):
    assert report.summary([[5.0]]) == {"median": 5.0, "low": 5.0, "high": 5.0, "steps": 1, "blocks": [5.0]}


def test_ratio(report):
    theirs, ours = report.summary([[4.0], [6.0], [8.0]]), report.summary([[2.0], [2.0], [1.0]])
    assert report.ratio(theirs, ours) == {"ratio": 3.0, "low": 2.0, "high": 8.0}


def test_the_interval_of_a_ratio_of_many_blocks(report):
    """Of 40 pairs, the 14th and the 27th: between those the median lies with 95% confidence."""
    theirs = report.summary([[float(n)] for n in range(1, 41)])
    assert report.ratio(theirs, report.summary([[1.0]] * 40)) == {"ratio": 20.5, "low": 14.0, "high": 27.0}


def test_a_variant_that_was_left_behind_is_not_the_best(report):
    found = report.summaries({"lucky": [[1.0]] * 4, "steady": [[1.1]] * 20})
    assert report.best(found) == "steady"


def test_result_takes_the_best_of_each(found):
    assert found["best"] == {"chainrule": "jit", "PyTorch": "fused", "JAX": "jit"}
    assert found["ratios"]["PyTorch"]["ratio"] == pytest.approx((6.5 + 142 / 15) / 2)
    assert found["ratios"]["JAX"]["ratio"] == pytest.approx(3.5)
    assert found["failed"] == {"PyTorch": {"torch.compile": "there is no C++ compiler"}}


def test_result_without_ours_has_no_ratio(works, report):
    assert report.result(works.WORKS["W1"], {"chainrule": {}, "PyTorch": {"eager": [[1.0]]}})["ratios"] == {}


def test_share(report, works, found):
    assert report.share(found, "chainrule", 1e9) == pytest.approx(works.WORKS["W1"].flops / 2e-5 / 1e9)
    assert report.share(found, "scikit-learn", 1e9) is None
    chain = report.result(works.WORKS["W7"], {"chainrule": {"eager": [[1.0]]}})
    assert report.share(chain, "chainrule", 1e9) is None


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (2.61e-5, "s", "26.1 µs"),
        (1.234e-3, "s", "1.23 ms"),
        (0.0999999, "s", "100 ms"),
        (4.2e-7, "s", "0.42 µs"),
        (83.0, "s", "83.0 s"),
        (412e6, "B", "412 MB"),
        (1.5e9, "B", "1.50 GB"),
    ],
)
def test_amount(report, value, unit, text):
    assert report.amount(value, unit) == text


def test_verdict(report, found):
    assert report.verdict(found, "PyTorch") == "≥ 7 yes"
    assert report.verdict(found, "JAX") == "≥ 2 JAX yes"
    assert report.verdict(found | {"goals": {"JAX": 4}}, "JAX") == "≥ 4 JAX no"
    assert report.verdict(found | {"ratios": {}}, "PyTorch") == "≥ 7"


def sized(works, report, key, seconds):
    return report.result(works.WORKS[key], {"chainrule": {"jit": [[seconds]]}})


def test_cliff(works, report):
    small, fine, slow = (sized(works, report, key, s) for key, s in
                         (("batch-256", 1.0), ("batch-1024", 7.9), ("batch-1024", 8.1)))  # fmt: skip
    assert not report.cliff(small, fine)
    assert report.cliff(small, slow)
    assert not report.cliff(small, sized(works, report, "width-512", 99.0)), "another kind of size"
    assert not report.cliff(small, sized(works, report, "batch-4096", 99.0)), "not the next size"


# Taking turns


class Scripted:
    """A player whose variants take so long, turn by turn."""

    def __init__(self, peer, said, **variants):
        self.peer, self.said, self.turns = peer, said, {name: iter(times) for name, times in variants.items()}
        self.variants = {name: times[0] for name, times in variants.items()}

    def block(self, variant, seconds, least):
        self.said.append((self.peer, variant, least))
        return [next(self.turns[variant])] * least


@pytest.fixture
def race():
    import race

    return race


def test_libraries_take_turns_and_slow_variants_fall_behind(race):
    said = []
    ours = Scripted("chainrule", said, eager=[5.0] * 50, jit=[1.0, 2.0] * 25)
    theirs = Scripted("PyTorch", said, eager=[3.0, 8.0] * 25, fused=[3.1, 8.1] * 25, compiled=[9.0] * 50)
    measured = race.race([ours, theirs], rounds=50, seconds=0.1, limit=60)
    counts = {peer: {name: len(blocks) for name, blocks in ways.items()} for peer, ways in measured.items()}
    assert counts == {"chainrule": {"eager": 4, "jit": 50}, "PyTorch": {"eager": 50, "fused": 50, "compiled": 4}}
    assert [turn[:2] for turn in said[:5]] == [
        ("chainrule", "eager"), ("chainrule", "jit"), ("PyTorch", "eager"), ("PyTorch", "fused"), ("PyTorch", "compiled"),
    ]  # fmt: skip


def test_a_race_ends_when_the_ratio_is_known(race):
    ours, theirs = Scripted("chainrule", [], jit=[1.0] * 50), Scripted("PyTorch", [], eager=[3.0, 3.1] * 25)
    measured = race.race([ours, theirs], rounds=50, seconds=0.1, limit=60)
    assert len(measured["chainrule"]["jit"]) == race.LEAST


def test_a_race_ends_when_its_time_is_over(race):
    ours, theirs = Scripted("chainrule", [], jit=[1.0] * 50), Scripted("PyTorch", [], eager=[3.0, 9.0] * 25)
    assert len(race.race([ours, theirs], rounds=50, seconds=0.1, limit=0)["chainrule"]["jit"]) == race.FIRST


def test_slow_steps_are_taken_one_at_a_time(race):
    said = []
    race.race([Scripted("chainrule", said, quick=[0.1] * 2, slow=[0.6] * 2)], rounds=2, seconds=0.1, limit=60)
    assert set(said) == {("chainrule", "quick", 3), ("chainrule", "slow", 1)}


# Text


def test_table(report, found):
    head, rule, line = report.table([found], rate=1e10).splitlines()
    assert set(rule) == {"-"}
    assert "scikit-learn" not in head, "a column of nothing is left out"
    for text in ("W1", "85.0 µs ±3%", "20.0 µs", "142 µs", "fused", "7.98 (6.50-9.47)", "3.50", "≥ 7 yes, ≥ 2 JAX yes"):
        assert text in line
    assert line.endswith(f"{report.share(found, 'chainrule', 1e10):.1%}")


def test_growth_table(works, report):
    text = report.growth_table([sized(works, report, "batch-256", 1e-3), sized(works, report, "batch-1024", 9e-3)])
    _, _, first, second = text.splitlines()
    assert "cliff" not in first
    assert second.endswith("a cliff")


def test_picture(works, report):
    """A bar and a number for each work, a mark for each goal, two panels of sizes with a tick each."""
    import picture

    def both(key, ours, theirs):
        return report.result(works.WORKS[key], {"chainrule": {"jit": [[ours]]}, "PyTorch": {"fused": [[theirs]]}})

    drawn = picture.draw(
        {"results": [both("W1", 1e-5, 8e-5), both("W2-128", 2e-3, 3e-3)]
         + [both(work.key, 1e-3, 2e-3) for row in works.GROWTH.values() for work in row]}
    )  # fmt: skip
    bars, by_batch, by_width = drawn.axes
    assert [patch.get_width() for patch in bars.patches] == pytest.approx([8, 1.5])
    assert [text.get_text() for text in bars.texts] == ["8.00", "1.50"]
    assert [list(line.get_xdata()) for line in bars.lines] == [[7, 7], [1, 1]]
    for axes, sizes in ((by_batch, works.BATCHES), (by_width, works.WIDTHS)):
        assert [text.get_text() for text in axes.get_xticklabels()] == [str(size) for size in sizes]
        assert [line.get_label() for line in axes.lines] == ["chainrule jit", "PyTorch's best"]
        assert list(axes.lines[1].get_ydata()) == pytest.approx([2.0] * len(sizes))


# The command


def test_chosen(bench, works):
    assert bench.chosen([], quick=False) == list(works.WORKS)
    assert bench.chosen(["W5", "W1"], quick=True) == ["W1", "W5-mlp-1", "W5-mlp-10000", "W5-cnn-1", "W5-cnn-10000"]
    assert bench.chosen(["growth"], quick=True) == ["batch-1", "batch-4096", "width-32", "width-4096"]
    assert not works.NOT_QUICK & set(bench.chosen([], quick=True))
    assert set(works.WORKS) >= works.NOT_QUICK


def test_unknown_work(bench, capsys):
    with pytest.raises(SystemExit) as ended:
        bench.main(["W1", "W99"])
    assert ended.value.code == 2
    assert "there is no work W99; there are W1, " in capsys.readouterr().err


def test_who_takes_part(bench, works):
    peers = ["chainrule", "PyTorch", "JAX", "scikit-learn"]
    taking = {
        key: [peer for peer in peers if bench.able(peer, works.WORKS[key])]
        for key in ("W2", "W3", "W7", "W8", "batch-4")
    }
    assert taking == {"W2": peers, "W3": peers[:3], "W7": peers[:2], "W8": peers[:2], "batch-4": peers[:2]}


def test_blocks_last_as_long_as_they_are_told(bench):
    import player

    steps = []
    times = player.timed(lambda: steps.append(time.sleep(0.001)), 0.1, 3)
    assert 0.1 <= sum(times) < 0.2
    assert 10 < len(times) < len(steps)  # some were taken before, uncounted
    steps.clear()
    assert len(player.timed(lambda: steps.append(1), 0, 4)) == 4
    assert len(steps) == 5


def test_variants_that_cannot_be_made_are_named():
    import player

    def broken():
        raise RuntimeError("no compiler\nand much more")

    made, failed = player.make({"good": lambda: lambda: None, "bad": broken})
    assert list(made) == ["good"]
    assert made["good"][1] >= 0
    assert failed == {"bad": "no compiler"}
    assert player.make({"good": broken, "bad": broken}, only="bad") == ({}, {"bad": "no compiler"})


def test_the_variables_are_unset(monkeypatch):
    import player

    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("OPENBLAS_L2_SIZE", "256")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    assert not {"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"} & player.environment().keys()
    assert player.environment()["OPENBLAS_NUM_THREADS"] == "1"


def test_a_run_without_any_other_library(bench, monkeypatch, tmp_path, capsys):
    """W7 in earnest, with real processes: the document, the table and the picture tell of it, and of who is missing."""
    monkeypatch.setattr(bench, "MODULES", dict.fromkeys(bench.MODULES, "no_such_module"))
    files = tmp_path / "new" / "bench.json", tmp_path / "new" / "bench.svg"
    bench.main(["W7", "--quick", "--json", str(files[0]), "--picture", str(files[1])])
    printed = capsys.readouterr().out
    for peer in ("PyTorch", "JAX", "scikit-learn"):
        assert f"{peer}: skipped, not installed" in printed
    assert "OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE unset" in printed
    document = json.loads(files[0].read_text(encoding="utf-8"))
    assert set(document) == {
        "date", "quick", "seconds", "machine", "rate", "versions", "skipped", "results",
    }  # fmt: skip
    (chain,) = document["results"]
    assert chain["key"] == "W7"
    assert list(chain["peers"]) == ["chainrule"]
    taken = chain["peers"]["chainrule"]["eager"]
    assert len(taken["blocks"]) == 2
    assert 0 < taken["low"] <= taken["median"] <= taken["high"]
    assert chain["ratios"] == {}
    assert document["rate"]["low"] <= document["rate"]["median"] <= document["rate"]["high"]
    assert files[1].read_bytes().startswith(b"<?xml")


def test_a_library_that_cannot_be_imported(bench, monkeypatch, tmp_path):
    """It is there, but its import fails: the player says why, and the run goes on."""
    (tmp_path / "jax.py").write_text("raise ImportError('made for another machine')\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    run = bench.Bench(bench.QUICK)
    try:
        with run.players("W1", ["JAX"])[0] as found:
            assert not run.takes_part(found)
    finally:
        run.machine.close()
    assert run.skipped["JAX"] == "made for another machine"
    assert "JAX" not in run.peers()


def test_a_work_that_breaks_is_told_and_the_others_go_on(bench, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bench, "MODULES", {})

    def broken(*_):
        raise RuntimeError("chainrule train: ended with 1")

    monkeypatch.setitem(bench.PROCESSES, "train", broken)
    monkeypatch.setattr(bench, "chosen", lambda *_, **__: ["train"])
    with pytest.raises(SystemExit) as ended:
        bench.main(["--json", str(tmp_path / "bench.json"), "--picture", str(tmp_path / "bench.svg")])
    assert ended.value.code == 1
    assert "train: could not be measured: chainrule train: ended with 1" in capsys.readouterr().out
    (found,) = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))["results"]
    assert found["peers"] == {}


def test_a_first_call_that_others_cannot_make_is_left_out_and_ours_is_told(bench, monkeypatch):
    def first_calls(module, way):
        if module in broken:
            raise RuntimeError(f"{module}: no compiler")
        return 5.0, 0.1

    monkeypatch.setattr(bench, "MODULES", {})
    monkeypatch.setattr(bench, "first_calls", first_calls)
    run = bench.Bench(bench.FULL)
    run.machine.close()
    broken = ["pytorch"]
    assert run.first_calls == {"chainrule": [(5.0, 0.1)] * 3, "JAX": [(5.0, 0.1)] * 3}
    del run.first_calls
    broken = ["ours"]
    with pytest.raises(RuntimeError, match="ours: no compiler"):
        run.first_calls  # noqa: B018


def test_a_player_that_dies_is_an_error():
    import player

    with player.Player("machine") as machine:
        machine.ready()
        with pytest.raises(player.PlayerError, match="(?s)machine's process ended: .*KeyError: 'nothing'"):
            machine.block("nothing", 0, 1)


@pytest.mark.parametrize("key", ["W1", "W2"])
def test_both_readings_take_the_same_steps(works, key):
    """What is timed learns: the losses of each variant's first steps are the same, batch by batch."""
    import peers.ours

    steps = [maker() for maker in peers.ours.variants(works.WORKS[key]).values()]
    losses = np.array([[float(step()) for _ in range(4)] for step in steps])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    assert len(set(losses[0])) == 4
