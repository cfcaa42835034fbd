"""`train` and `evaluate` for language models: as a stranger would use them, and what is refused in one sentence."""

from __future__ import annotations

import json
import math
import re
import signal
import time

import pytest
from PIL import Image

from chainrule.training.run import Run

STORY = "the cat and the dog. a hat on the mat!\n" * 40
QUICK = ("--model", "gpt", "--size", "tiny", "--steps-per-epoch", 20, "--epochs", 2, "--batch-size", 4, "--lr", 0.02)


@pytest.fixture
def story(here):
    (here / "story.txt").write_text(STORY)
    return here / "story.txt"


def test_train_on_a_text(command, story, here):
    done = command("train", *QUICK, "--data", "story.txt", "--out", "run")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0].startswith("gpt: a small GPT")
    assert lines[1].startswith(f"{story}: 1,404 training tokens, 14 different; 20 steps per epoch; adamw, lr 0.02")
    assert lines[3].split() == ["epoch", "train", "loss", "validation", "loss", "perplexity", "seconds"]
    assert "validation accuracy" not in done.out
    run = Run(here / "run")
    result = run.result
    assert f"validation loss  {result['validation_loss']:.4f} per token" in lines
    assert f"perplexity       {math.exp(result['validation_loss']):.2f}" in lines
    assert "by validation loss; its weights are saved" in done.out
    assert {file.name for file in run.folder.iterdir()} == {
        "config.json", "metrics.jsonl", "model.safetensors", "checkpoint", "result.json", "tokenizer.json",
    }  # fmt: skip


def test_a_text_needs_no_model_named(command, story, here):
    done = command("train", "--data", "story.txt", "--size", "tiny", "--steps-per-epoch", 2, "--epochs", 1, "--json")
    assert done.code == 0
    document = json.loads(done.out)
    assert document["model"] == "gpt"
    assert document.keys() == {"run", "model", "seed", "validation_loss", "perplexity", "seconds", "epochs"}
    assert document["epochs"][0].keys() == {"epoch", "train_loss", "validation_loss", "perplexity", "seconds"}


def test_gpt_needs_no_text_named(command):
    done = command("train", *QUICK, "--quiet")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("validation loss  ")


def test_byte_pairs(command, story, here):
    done = command("train", *QUICK, "--data", "story.txt", "--bpe", 270, "--out", "run", "--block-size", 8)
    assert done.code == 0, done.err
    assert json.loads((here / "run" / "tokenizer.json").read_text())["kind"] == "bpe"
    assert Run(here / "run").config["model"]["options"]["vocab_size"] == 270
    assert command("evaluate", "run").code == 0


def test_words(command, here):
    done = command("train", *QUICK, "--data", "everyday", "--words", "--out", "run", "--block-size", 8)
    assert done.code == 0, done.err
    document = json.loads((here / "run" / "tokenizer.json").read_text())
    assert document["kind"] == "words"
    assert {"bank", "deposit", ".", "\n"} <= set(document["words"])
    assert Run(here / "run").config["model"]["options"]["vocab_size"] == len(document["words"])
    assert command("evaluate", "run").code == 0
    done = command("generate", "run", "--prompt", "I am going to the", "--tokens", 5, "--stream")
    assert re.match(r"I am going to the( |[.,?]|\n)", done.out)
    done = command("train", *QUICK, "--data", "everyday", "--words", "--bpe", 300)
    assert (done.code, done.out) == (2, "")
    assert "tokens are byte pairs (--bpe) or words (--words), not both" in done.err
    done = command("train", "--data", "mnist", "--words")
    assert "--words is for a text, but mnist is a set of images" in done.err


def test_evaluate_gives_the_result_again(command, story):
    command("train", *QUICK, "--data", "story.txt", "--out", "run")
    done = command("evaluate", "run")
    result = Run("run").result
    assert (done.code, done.err) == (0, "")
    assert f"perplexity       {result['perplexity']:.2f}: as uncertain as a guess among" in done.out
    document = json.loads(command("evaluate", "run", "--json").out)
    assert document == {
        "run": "run", "loss": result["validation_loss"], "perplexity": result["perplexity"], "tokens": 156,
    }  # fmt: skip
    assert f"perplexity {result['perplexity']:.4g}" in command("runs", ".").out


def test_evaluate_says_that_a_text_has_changed(command, story):
    command("train", *QUICK, "--data", "story.txt", "--out", "run")
    story.write_text(STORY.replace("cat", "dog"))
    done = command("evaluate", "run")
    assert (done.code, done.err) == (0, f"chainrule: {story} has changed since run was created\n")


def test_a_run_resumes_to_the_same_bits(command, start, story, here):
    """Stopped by Ctrl-C in the middle, against one that never stopped."""
    options = ("train", "--data", "story.txt", "--size", "tiny", "--steps-per-epoch", 70, "--epochs", 3, "--eager")
    whole = command(*options, "--out", "whole", "--quiet")
    assert whole.code == 0
    stopped = start(*options, "--out", "stopped", "--quiet")
    while not (here / "stopped" / "metrics.jsonl").exists() or not Run(here / "stopped").history:
        assert stopped.poll() is None
        time.sleep(0.02)
    stopped.send_signal(signal.SIGINT)
    stopped.communicate(timeout=60)
    assert stopped.returncode == 130
    assert len(Run("stopped").history) < 3
    assert command("train", "--resume", "stopped", "--quiet").code == 0
    for name in ("whole", "stopped"):
        rows = [{k: v for k, v in row.items() if k != "seconds"} for row in Run(name).history]
        assert rows == [{k: v for k, v in row.items() if k != "seconds"} for row in Run("whole").history]
        assert (here / name / "model.safetensors").read_bytes() == (here / "whole" / "model.safetensors").read_bytes()


REFUSED = {
    "an empty text": (b"", (), "is empty; a text to train on needs"),
    "not UTF-8": (b"caf\xe9" * 99, (), r"is not UTF-8 at byte 3 \(0xe9\)"),
    "too short": (b"abcdefghij" * 9, (), "has 9 tokens, too few for a window of 32"),
    "too short to split": (b"abc", (), "has only 3 characters"),
    "an unknown size": (STORY.encode(), ("--size", "huge"), "option size must be one of"),
    "no steps": (STORY.encode(), ("--steps-per-epoch", 0), "steps per epoch must be at least 1, not 0"),
    "too few byte pairs": (STORY.encode(), ("--bpe", 10), "256 to 1,000,000 tokens"),
    "a large limit": (STORY.encode(), ("--limit", 10_000), "the limit is 10,000, but .* has 1,404 training tokens"),
    "a model of images": (STORY.encode(), ("--model", "mlp"), "model 'mlp' does not read text, and .* choose from gpt"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_trained_on_is_refused(command, here, case):
    content, options, message = REFUSED[case]
    (here / "text.txt").write_bytes(content)
    done = command("train", *QUICK, "--data", "text.txt", "--out", "run", *options)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert re.search(message, done.err), done.err
    assert not (here / "run").exists()


def test_what_a_model_does_not_read(command, here, images):
    done = command("train", "--model", "gpt", "--data", images)
    assert (done.code, done.out) == (2, "")
    assert re.search("model 'gpt' does not read images, and .* is a set of images; choose from mlp", done.err)
    done = command("train", "--data", "names", "--model", "cnn")
    assert done.err == "chainrule: model 'cnn' does not read text, and names is a text; choose from gpt\n"
    done = command("train", "--model", "gpt", "--data", "none.txt")
    assert done.err.startswith("chainrule: there is no text file")
    done = command("train", "--data", "mnist", "--bpe", "300")
    assert "--bpe is for a text, but mnist is a set of images" in done.err


def test_figures_of_images_are_refused(command, story):
    command("train", *QUICK, "--data", "story.txt", "--out", "run")
    done = command("evaluate", "run", "--confusion", "confusion.png")
    assert done.code == 2
    assert "--confusion and --mistakes are for images, but run is a run on text" in done.err


@pytest.mark.parametrize("name", ["predict", "read"])
def test_a_model_of_text_reads_no_picture(command, story, name, here, write):
    command("train", *QUICK, "--data", "story.txt", "--out", "run")
    picture = Image.new("L", (60, 60), 255)
    write(picture, "1", 0, -20, -20)
    picture.save(here / "picture.png")
    done = command(name, "picture.png", "--run", "run")
    assert (done.code, done.out) == (2, "")
    message = "run: gpt is a language model and does not read pictures; for text: chainrule generate run"
    assert done.err == f"chainrule: {message}\n"


def test_the_listings_name_texts_and_their_licenses(command):
    out = command("data").out
    assert "everyday" in out
    assert "shakespeare" in out
    assert "public domain" in out
    assert "gpt" in command("models").out
