"""Training on text: what is measured, against loops; the same bits after a kill; what does not fit is refused."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import chainrule
from chainrule import models, nn, no_grad, safetensors_io, text
from chainrule.errors import DataError, RunError
from chainrule.text import CharTokenizer
from chainrule.training import experiment, run, text_task
from chainrule.training.changes import change_run, parse_settings
from chainrule.training.resume import resume
from chainrule.training.text_task import TEXT, guessing_loss, mean_loss, perplexity

from .killing import KillAt, Killed

SMALL = {"size": "tiny", "block_size": 8, "layers": 1, "width": 16}
STEPS = {"epochs": 2, "steps_per_epoch": 3, "batch_size": 4}


@pytest.fixture
def story(tmp_path, monkeypatch):
    """A text of 1,000 characters, 13 different ones."""
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "story.txt").write_text("the cat and the dog. a hat on the mat! " * 26)
    return text.load(tmp_path / "story.txt")


@pytest.fixture
def begin(story, tmp_path):
    """Makes a run and its trainer."""

    def begin(name="run", callbacks=(), options=SMALL, **changes):
        config = experiment.configure("gpt", story, options=options, **{**STEPS, **changes})
        this_run = run.create(config, tmp_path / name, lambda folder: TEXT.write_files(story, folder))
        return this_run, experiment.prepare(this_run, story, callbacks)

    return begin


def tiny(vocab_size=13):
    return models.build("gpt", {**SMALL, "vocab_size": vocab_size}, generator=np.random.default_rng(5))


# What is measured


def test_the_loss_is_that_of_every_window(story):
    """Against a loop over windows and positions, with NumPy's own logarithms."""
    network, model = tiny(story.tokenizer.vocab_size), models.get("gpt")
    tokens = story.validation.astype(np.int64)
    losses = []
    with no_grad():
        for start in range(0, len(tokens) - 8, 8):
            logits = network.eval()(chainrule.tensor(tokens[None, start : start + 8])).numpy()[0].astype(np.float64)
            for row, target in zip(logits, tokens[start + 1 : start + 9], strict=True):
                losses.append(np.log(np.exp(row).sum()) - row[target])
    network.train()
    assert mean_loss(network, model, story.validation) == pytest.approx(np.mean(losses), rel=1e-6)
    assert network.training


def test_a_long_text_is_measured_in_places_all_over_it(story):
    network, model = tiny(story.tokenizer.vocab_size), models.get("gpt")
    starts = np.arange(0, len(story.train) - 8, 8)
    expected = [mean_loss(network, model, story.train[start : start + 9]) for start in starts[[0, 28, 56, 84, 113]]]
    assert len(starts) == 114
    assert mean_loss(network, model, story.train, max_windows=5) == pytest.approx(np.mean(expected), rel=1e-5)


def test_whole_batches_are_compiled_if_there_are_enough(story, monkeypatch):
    network, model = tiny(story.tokenizer.vocab_size), models.get("gpt")
    monkeypatch.setattr(text_task, "BATCH_TOKENS", 88)  # 10 whole batches of 11 windows, and 4
    compiled, sizes = chainrule.jit(text_task.window_loss(network, model)), []

    def counted(inputs, targets):
        sizes.append(len(targets))
        return compiled(inputs, targets)

    eager = mean_loss(network, model, story.train)
    assert mean_loss(network, model, story.train, counted) == pytest.approx(eager, rel=1e-5)
    assert sizes == [11] * 10
    assert mean_loss(network, model, story.validation, counted) == mean_loss(network, model, story.validation)
    assert sizes == [11] * 10


def test_perplexity_is_that_of_a_guess():
    assert perplexity(math.log(27)) == pytest.approx(27)
    assert perplexity(1e9) == perplexity(math.inf) == math.exp(709)  # a number that JSON can hold
    assert math.isnan(perplexity(math.nan))


def test_guessing_by_frequency():
    train, validation = np.array([0, 0, 0, 1]), np.array([0, 1, 2])
    p = np.array([4, 2, 1]) / 7  # each counted once more
    assert guessing_loss(train, validation, 3) == pytest.approx(-np.log(p).mean())


def test_a_record_has_loss_and_perplexity(begin):
    this_run, trainer = begin()
    trainer.fit(2)
    for record in this_run.history:
        assert record.keys() == {"epoch", "train_loss", "validation_loss", "perplexity", "seconds", "learning_rate"}
        assert record["perplexity"] == pytest.approx(math.exp(record["validation_loss"]))
    best = min(this_run.history, key=lambda record: record["validation_loss"])
    result = experiment.finish(this_run, TEXT.load(this_run), 1.5)
    assert result == {"validation_loss": best["validation_loss"], "perplexity": best["perplexity"], "seconds": 1.5}
    assert run.Run(this_run.folder).result == result


def test_the_weights_of_the_lowest_loss_are_kept(begin, story):
    this_run, trainer = begin(epochs=6, lr=0.3, schedule="constant")  # so large that the loss rises again
    trainer.fit(6)
    losses = [record["validation_loss"] for record in this_run.history]
    assert losses != sorted(losses, reverse=True)
    assert mean_loss(this_run.load_network(), this_run.model, story.validation) == pytest.approx(min(losses), rel=1e-6)


# The config


def test_a_config_says_everything(story):
    config = experiment.configure("gpt", story, seed=7, limit=500, options=SMALL, lr=0.5)
    assert config["model"] == {"name": "gpt", "options": {**SMALL, "vocab_size": story.tokenizer.vocab_size}}
    assert config["data"].keys() == {"name", "limit", "crc32", "validation_crc32"}
    assert (config["data"]["name"], config["data"]["limit"], config["training"]["lr"]) == (story.name, 500, 0.5)
    assert json.loads(json.dumps(config)) == config


def test_a_corpus_suggests_a_size():
    config = experiment.configure("gpt", text.load("everyday"))
    assert config["model"]["options"]["size"] == "names"
    assert (
        experiment.configure("gpt", text.load("everyday"), options={"size": "tiny"})["model"]["options"]["size"]
        == "tiny"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps_per_epoch": 0}, "the number of steps per epoch must be at least 1, not 0"),
        ({"steps_per_epoch": 10**10}, "the number of steps per epoch must be at most 1,000,000,000"),
        ({"augment": {"shift": 1.0}}, "augmentation is for images; a text has none"),
        ({"limit": 10_000}, r"the limit is 10,000, but .*story.txt has 913 training tokens"),
        ({"options": {"size": "huge"}}, "option size must be one of names, shakespeare, tiny, not 'huge'"),
    ],
)
def test_what_makes_no_sense_is_refused(story, changes, message):
    with pytest.raises(RunError, match=message):
        experiment.configure("gpt", story, **changes)


def test_a_text_shorter_than_a_window_is_refused(story, tmp_path):
    (tmp_path / "short.txt").write_text("abcdefghij" * 30)
    with pytest.raises(
        DataError, match=r"the validation part of .*short.txt: has 30 tokens, too few for a window of 32"
    ):
        experiment.configure("gpt", text.load(tmp_path / "short.txt"), options={"size": "tiny"})


def test_images_and_texts_have_models_of_their_own(story, digits):
    with pytest.raises(RunError, match=r"^model 'mlp' does not read text, and .*story.txt is a text; choose from gpt$"):
        experiment.configure("mlp", story)
    with pytest.raises(RunError, match="an epoch is a pass over the images, so steps_per_epoch must be 0, not 5"):
        experiment.configure("mlp", digits, steps_per_epoch=5)


def test_the_rate_rises_and_falls_as_nanogpt_has_it(begin):
    """lr · (i + 1) / (w + 1) in the first w steps, then a cosine down to a tenth."""
    _, trainer = begin(epochs=2, steps_per_epoch=30, lr=0.01)
    rates = []
    for _ in range(60):
        rates.append(trainer.optimizer.param_groups[0]["lr"])
        trainer.scheduler.step()
    rise = [0.01 * (i + 1) / 4 for i in range(3)]
    fall = [0.001 + 0.5 * (1 + math.cos(math.pi * (i - 3) / 57)) * 0.009 for i in range(3, 60)]
    assert rates == pytest.approx(rise + fall, rel=1e-6)


# Exactly the same again


def train(this_run, trainer):
    trainer.fit(2)
    files = [(this_run.folder / name).read_bytes() for name in ("model.safetensors",)]
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in this_run.history]
    return files, history


@pytest.mark.parametrize("options", [SMALL, {**SMALL, "dropout": 0.2}], ids=["plain", "dropout"])
def test_a_run_goes_on_after_a_kill_with_the_same_bits(begin, options):
    whole = train(*begin("whole", options=options))
    for step in range(1, 7):
        this_run, trainer = begin(f"run {step}", callbacks=[KillAt(step)], options=options)
        next(c for c in trainer.callbacks if hasattr(c, "seconds")).seconds = 0.0
        with pytest.raises(Killed):
            trainer.fit(2)
        again = run.Run(this_run.folder)
        resumed = experiment.prepare(again, TEXT.load(again))
        resume(again, resumed)
        assert resumed.epoch * 3 + resumed.step == step - 1
        assert train(again, resumed) == whole


def test_the_limit_is_what_windows_are_drawn_from(begin):
    _, trainer = begin(limit=12)
    starts = {tuple(row) for inputs, _ in trainer.loader for row in inputs.tolist()}
    assert len(trainer.loader.dataset) == 4
    assert len(starts) <= 4


def test_more_epochs_continue_a_run(begin, story):
    this_run, trainer = begin(schedule="constant")
    trainer.fit(2)
    longer = change_run(this_run, story, {"epochs": 3})
    trainer = experiment.prepare(longer, story)
    resume(longer, trainer)
    assert len(trainer.fit(3)) == 3
    with pytest.raises(RunError, match="'steps_per_epoch=5' is not a setting that can be changed"):
        parse_settings(["steps_per_epoch=5"])


# Files that do not fit


def test_a_text_that_has_changed_is_refused(begin, tmp_path):
    this_run, _ = begin()
    (tmp_path / "story.txt").write_text("the mat and the hat. a dog on the cat! " * 26)
    with pytest.raises(DataError, match=r"story.txt: the tokens of the text have changed since .*run was started"):
        experiment.prepare(this_run, TEXT.load(this_run))


def test_another_tokenizer_is_refused(begin):
    this_run, trainer = begin()
    trainer.fit(1)
    CharTokenizer("abc").save(this_run.folder / "tokenizer.json")
    for refused in (this_run.load_network, lambda: TEXT.load(this_run)):
        with pytest.raises(DataError, match=r"tokenizer.json: has 3 tokens, but the run's model has vocab_size 13"):
            refused()
    (this_run.folder / "tokenizer.json").unlink()
    with pytest.raises(DataError, match="tokenizer.json: cannot be read"):
        this_run.load_network()


def test_a_model_without_a_vocabulary_is_refused(begin):
    this_run, trainer = begin()
    trainer.fit(1)
    config = json.loads(this_run.config_file.read_text())
    del config["model"]["options"]["vocab_size"]
    this_run.config_file.write_text(json.dumps(config))
    with pytest.raises(DataError, match="has 13 tokens, but the run's model has vocab_size None"):
        TEXT.load(run.Run(this_run.folder))


def rewrite(folder, **data):
    config = json.loads((folder / "config.json").read_text())
    config["data"] = {**config["data"], **data}
    (folder / "config.json").write_text(json.dumps(config))


def test_the_data_section_is_checked(begin):
    this_run, _ = begin()
    rewrite(this_run.folder, classes=["0"])
    with pytest.raises(RunError, match=r"config.json: has unknown data.classes"):
        run.Run(this_run.folder)
    this_run, _ = begin("other")
    rewrite(this_run.folder, crc32="x")
    with pytest.raises(RunError, match=r"config.json: data.crc32 must be of type int, not str"):
        run.Run(this_run.folder)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"validation_loss": 1.0, "perplexity": 0.5, "seconds": 1.0}, "perplexity must be at least 1, not 0.5"),
        ({"test_accuracy": 1.0, "test_loss": 0.5, "seconds": 1.0}, "lacks perplexity, validation_loss"),
    ],
)
def test_the_result_is_checked(begin, result, message):
    this_run, _ = begin()
    (this_run.folder / "result.json").write_text(json.dumps(result))
    with pytest.raises(RunError, match=message):
        _ = this_run.result


def test_weights_that_give_no_number_are_refused(begin):
    this_run, trainer = begin()
    trainer.fit(1)
    state = {name: tensor * 1e30 for name, tensor in trainer.network.state_dict().items()}
    safetensors_io.save(state, this_run.weights_file)
    with (
        pytest.raises(RunError, match=r"model.safetensors: the network's loss is (nan|inf): .* smaller learning rate"),
        np.errstate(all="ignore"),
    ):
        TEXT.evaluate_run(this_run, TEXT.load(this_run))


def test_a_killed_creation_leaves_nothing_in_the_way(begin, story, tmp_path):
    """A run is one once its config is there, which is written last."""
    (tmp_path / "run").mkdir()
    TEXT.write_files(story, tmp_path / "run")
    this_run, _ = begin("run")
    assert this_run.config["model"]["name"] == "gpt"
    with pytest.raises(RunError, match="already holds a run"):
        begin("run")


# A diagnosis


def test_a_run_that_learns_is_not_diagnosed(begin, story):
    this_run, trainer = begin(epochs=4, steps_per_epoch=100, lr=0.01)
    trainer.fit(4)
    assert TEXT.diagnose(this_run, story) is None
    assert this_run.history[-1]["validation_loss"] < guessing_loss(story.train, story.validation, 16) / 2


@pytest.mark.parametrize(
    ("lr", "advice"),
    [
        (1e-7, "try more epochs than 2, or a larger learning rate than 1e-07"),
        (9.0, "smaller learning rate than 9, such as 0.001"),
    ],
)
def test_a_run_that_does_not_learn_says_so(begin, story, lr, advice):
    this_run, trainer = begin(lr=lr, schedule="constant")
    trainer.fit(2)
    said = TEXT.diagnose(this_run, story)
    assert said.startswith("training did not work: the best validation loss, ")
    assert "no better than that of guessing tokens by their frequency, 2." in said
    assert said.endswith(advice)


def test_a_run_without_history_is_not_diagnosed(begin, story):
    assert TEXT.diagnose(begin()[0], story) is None


def test_a_text_model_of_ones_own(story):
    """Any registered language model works, not only gpt; it gets no default for an option that it does not have."""

    class Bigram(nn.Module):
        def __init__(self, vocab_size, generator):
            super().__init__()
            self.block_size, self.vocab_size = 4, vocab_size
            self.table = nn.Embedding(vocab_size, vocab_size, generator=generator)

        def forward(self, tokens):
            return self.table(tokens)

    def bigram(*, vocab_size=5, generator=None):
        return Bigram(vocab_size, generator)

    recipe = models.Recipe(epochs=1, batch_size=8, optimizer="adam", lr=0.1, steps_per_epoch=20)
    models.register("the next token by the last", recipe, loss=models.get("gpt").loss, task="text")(bigram)
    try:
        config = experiment.configure("bigram", text.load("everyday"), epochs=None)
        assert config["model"]["options"] == {"vocab_size": 44}
    finally:
        del models.REGISTRY["bigram"]
