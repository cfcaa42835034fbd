"""The view Next word: probabilities and attention as plain NumPy computes them from the run's files; forged messages."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from ast import literal_eval

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("starlette", reason="the studio's libraries are not installed: pip install '.[studio]'")

from chainrule import safetensors_io
from chainrule.cli import cli
from chainrule.first_principles import language
from chainrule.studio.shelf import Shelf
from chainrule.studio.words import LESSON, TOP, WORDS, Words
from chainrule.training import run as runs

QUESTION = {"ask": "read", "number": 1, "model": WORDS, "text": "", "temperature": 1, "seed": 0}
TEXTS = ["I am going to the bank to deposit some", "she went to the bakery", "The", "he sat on the bank of the river."]


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    command = ["train", "--model", "gpt", "--data", "everyday", "--size", "tiny", "--epochs", "1", "--eager"]
    done = CliRunner().invoke(cli, [*command, "--steps-per-epoch", "3", "--out", str(folder / "letters"), "--quiet"])
    assert done.exit_code == 0, done.output
    return Words(Shelf(folder))


def ask(words, **changes):
    content, buffers = words.answer({**QUESTION, **changes}, [])
    assert (content["tell"], content["number"]) == ("reading", 1)
    if content.get("attention"):
        layers, heads, length = content["attention"]
        content["weights"] = np.frombuffer(buffers[0], "<f4").reshape(layers, heads, length, length)
    return content


def by_hand(run, text):
    """Logits of the next token, and the attention weights, from the files of a run of a GPT in float64."""
    p = {name: tensor.numpy().astype(float) for name, tensor in safetensors_io.load(run.weights_file).items()}
    vocabulary = json.loads((run.folder / "tokenizer.json").read_text())
    options = json.loads(run.config_file.read_text())["model"]["options"]
    if vocabulary["kind"] == "words":
        names = vocabulary["words"]
        tokens = [names.index(word) for word in text.lower().replace(".", " .").split()]
    else:
        names = list(vocabulary["characters"])
        tokens = [names.index(character) for character in text]
    tokens = tokens[-options["block_size"] :]
    length, heads, size = len(tokens), 2, 16

    def norm(x, name):
        x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
        return x * p[f"{name}.weight"] + p[f"{name}.bias"]

    def linear(x, name):
        return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    x, attention = p["token_embedding.weight"][tokens] + p["position_embedding.weight"][:length], []
    for block in ("blocks.0", "blocks.1"):
        q, k, v = (
            linear(norm(x, f"{block}.norm1"), f"{block}.attention.qkv")
            .reshape(length, 3, heads, size)
            .transpose(1, 2, 0, 3)
        )
        powers = np.tril(np.exp(q @ k.swapaxes(1, 2) / math.sqrt(size)))
        weights = powers / powers.sum(axis=2, keepdims=True)
        attention.append(weights)
        x = x + linear((weights @ v).transpose(1, 0, 2).reshape(length, -1), f"{block}.attention.projection")
        hidden = linear(norm(x, f"{block}.norm2"), f"{block}.feed_forward.up")
        hidden = hidden / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden**3)))
        x = x + linear(hidden, f"{block}.feed_forward.projection")
    return names, norm(x, "norm")[-1] @ p["token_embedding.weight"].T, np.array(attention)


@pytest.mark.parametrize("temperature", [1, 0.5, 2.0])
@pytest.mark.parametrize("text", TEXTS)
def test_the_numbers_are_those_of_the_files(words, text, temperature):
    told = ask(words, text=text, temperature=temperature)
    names, logits, attention = by_hand(runs.Run(runs.SHIPPED_WORDS), text)
    powers = np.exp((logits - logits.max()) / temperature)
    chances = powers / powers.sum()
    order = np.argsort(-chances)[:TOP]
    assert told["words"] == [names[i].replace("\n", "↵") for i in order]
    np.testing.assert_allclose(told["probabilities"], chances[order], rtol=1e-4)
    assert told["others"]["count"] == len(names) - TOP
    assert told["others"]["probability"] == pytest.approx(1 - chances[order].sum(), abs=1e-6)
    assert told["choices"] == pytest.approx(math.exp(-(chances * np.log(chances)).sum()), rel=1e-4)
    np.testing.assert_allclose(told["weights"], attention, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(told["weights"].sum(axis=3), 1, rtol=1e-5)
    assert told["tokens"] == text.lower().replace(".", " .").split()


def test_characters_of_a_run_and_a_long_text(words):
    text = "We eat bread at the market with our friends."  # longer than the block
    told = ask(words, model="letters", text=text)
    _, logits, attention = by_hand(words.shelf.run("letters"), text)
    chances = np.exp(logits - logits.max())
    chances /= chances.sum()
    assert told["unit"] == "character"
    np.testing.assert_allclose(told["probabilities"], np.sort(chances)[::-1][:TOP], rtol=1e-4)
    assert told["tokens"] == [*text.replace(" ", "␣")[-24:]]
    assert told["unseen"] == len(text) - 24
    np.testing.assert_allclose(told["weights"], attention[:, :, -24:, -24:], rtol=1e-3, atol=1e-6)
    assert [told["pieces"][i] for i, word in enumerate(told["words"]) if word == "e"] == ["e"]
    assert words.answer({"ask": "models"}, [])[0] == {
        "tell": "models", "names": [WORDS, LESSON, "letters"], "chosen": WORDS,
    }  # fmt: skip


def test_it_goes_on_as_generate_does(words):
    for seed in (0, 3):
        for text in ("I am going to the", "she went "):
            told = ask(words, text=text, seed=seed, temperature=0.7)
            command = ["generate", str(runs.SHIPPED_WORDS), "--prompt", text.rstrip(), "--tokens", "20"]
            done = CliRunner().invoke(cli, [*command, "--temperature", "0.7", "--seed", str(seed), "--no-stream"])
            line = done.output.split("\n")[0]
            assert text + told["continuation"].rstrip("\n") == line
    again = ask(words, text="I am going to the", seed=0, temperature=0.7)["continuation"]
    assert again != ask(words, text="I am going to the", seed=1, temperature=0.7)["continuation"]
    likeliest = ask(words, text="I am going to the", temperature=0)
    assert (likeliest["probabilities"][0], likeliest["others"]["probability"]) == (1, 0)
    assert likeliest["continuation"].startswith(likeliest["pieces"][0])


@pytest.mark.parametrize("text", ["", "  ", "\t", "\u2028"])
def test_a_text_without_words_is_read_as_a_new_line(words, text):
    told = ask(words, text=text)
    assert (told["tokens"], told["unseen"]) == (["↵"], 0)
    assert told["probabilities"] == ask(words, text="\n")["probabilities"]
    assert ask(words, text=text + told["pieces"][0])["tokens"] == [told["words"][0]]
    assert ask(words, model="letters", text=" ")["tokens"] == ["␣"]


def test_choosing_a_word_makes_a_text_that_is_read_the_same(words):
    for text in ("I am going to the", "I am going to the ", "we eat.\n"):
        told = ask(words, text=text)
        for word, piece in zip(told["words"], told["pieces"], strict=True):
            assert ask(words, text=text + piece)["tokens"] == [*told["tokens"], word]


def test_the_model_of_the_lesson_has_no_attention(words):
    text = "I am going to the bank to deposit some"
    told = ask(words, model=LESSON, text=text)
    model = language.train_model()
    assert list(zip(told["words"], told["probabilities"], strict=True))[:5] == [
        (word, pytest.approx(chance)) for word, chance in model.likeliest(text)
    ]
    assert told["attention"] is None
    assert "it has no attention" in told["about"]
    assert told["tokens"] == ["the", "bank", "to", "deposit", "some"]
    assert text + told["continuation"] == text + model.complete(text, 20, 1.0, 0).removeprefix(text.lower()) + "."
    assert ask(words, model=LESSON, text="We eat. The")["tokens"] == ["the"]


@pytest.mark.parametrize(
    ("model", "text", "temperature"),
    [(WORDS, TEXTS[0], 0.8), (WORDS, "", 1.0), (LESSON, TEXTS[0], 0.6), ("letters", "We e", 1.0)],
)
def test_the_code_prints_the_same(words, model, text, temperature, tmp_path):
    told = ask(words, model=model, text=text, temperature=temperature, seed=5)
    (tmp_path / "code.py").write_text(told["code"])
    done = subprocess.run(
        [sys.executable, tmp_path / "code.py"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    *rows, last = done.stdout.splitlines()
    assert [row[:7].strip() for row in rows] == [f"{chance:.2%}" for chance in told["probabilities"]]
    assert [literal_eval(row[8:]).replace("\n", "↵").replace(" ", "␣") for row in rows] == told["words"]
    if model == LESSON:
        assert literal_eval(last) == text.lower() + told["continuation"].removesuffix(".")
    else:
        start = text if model == "letters" else text.lower() or "\n"
        assert literal_eval(last) == start + told["continuation"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "none"}, "there is no run of this name"),
        ({"model": "../letters"}, "there is no run of this name"),
        ({"model": "shipped"}, "shipped: reader reads images and predicts no words"),
        ({"model": 3}, "needs the name of a model and a text"),
        ({"text": None}, "needs the name of a model and a text"),
        ({"text": "a" * 2001}, "2,001 characters is too long; 2,000 at most"),
        ({"text": "I deposit Schnitzel"}, "the text has 'schnitzel', and the model has only the 494 words"),
        ({"text": "the \udcff"}, "the text has '\\xff'"),
        ({"model": LESSON, "text": "the quark"}, "vocabulary of 490 words does not contain quark"),
        ({"temperature": float("nan")}, "the temperature must be a number from 0 to 5"),
        ({"temperature": -1}, "the temperature must be a number from 0 to 5"),
        ({"temperature": 1e300}, "the temperature must be a number from 0 to 5"),
        ({"temperature": True}, "the temperature must be a number from 0 to 5"),
        ({"temperature": None}, "the temperature must be a number from 0 to 5"),
        ({"seed": 1.5}, "the seed must be an integer from 0"),
        ({"seed": True}, "the seed must be an integer from 0"),
        ({"seed": -1}, "the seed must be an integer from 0"),
        ({"seed": 2**40}, "the seed must be an integer from 0"),
    ],
)
def test_forged_questions_get_one_sentence(words, changes, message):
    told = ask(words, **changes)
    assert message in told["error"]
    assert "\n" not in told["error"]


@pytest.mark.parametrize(
    ("content", "buffers"),
    [({}, []), ({"ask": "read"}, []), ({"ask": "read", "number": "1"}, []), (QUESTION, [b"x"]), ({"ask": []}, [])],
)
def test_what_is_not_understood(words, content, buffers):
    assert words.answer(content, buffers) is None


def test_a_run_that_trains_on_is_read_again_and_one_that_diverged_is_refused(words, tmp_path):
    shelf = Shelf(tmp_path)
    folder = shutil.copytree(words.shelf.folder / "letters", tmp_path / "letters")
    view = Words(shelf)
    before = ask(view, model="letters", text="We")["probabilities"]
    weights = safetensors_io.load(folder / "model.safetensors")
    safetensors_io.save({name: weight * 1.5 for name, weight in weights.items()}, folder / "model.safetensors")
    assert ask(view, model="letters", text="We")["probabilities"] != before
    safetensors_io.save({name: weight * 1e30 for name, weight in weights.items()}, folder / "model.safetensors")
    with np.errstate(all="ignore"):
        assert "have diverged" in ask(view, model="letters", text="We")["error"]
    (folder / "model.safetensors").unlink()
    assert "is missing" in ask(view, model="letters", text="We")["error"]
    assert "letters" not in view.answer({"ask": "models"}, [])[0]["names"]


def test_the_shipped_model_is_small_and_its_result_is_its_own():
    run = runs.find("shipped_words")
    assert sum(file.stat().st_size for file in run.folder.iterdir()) <= 300_000
    found = run.task.evaluate_run(run, run.task.load(run))
    assert found["validation_loss"] == pytest.approx(run.result["validation_loss"], rel=1e-4)


def test_the_studio_opens_at_a_language_model(tmp_path):
    """A run of text is shown by this view; the first door reads digits."""
    folder = shutil.copytree(runs.SHIPPED_WORDS, tmp_path / "sentences")
    command = [sys.executable, "-u", "-m", "chainrule", "studio", "--no-browser", "--run", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline().strip().endswith("#words")
        finally:
            process.terminate()
