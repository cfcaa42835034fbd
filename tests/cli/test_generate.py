"""`generate`: a clean text on standard output, the same for the same seed, and one sentence for what does not fit."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from chainrule import text
from chainrule.cli.generate import continuation
from chainrule.text import CharTokenizer, Sampler
from chainrule.training import experiment, run
from chainrule.training.text_task import TEXT

STORY = "the cat and the dog. a hat on the mat!\n" * 40


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A run that has learned a little of a story, with a block of 32 tokens. Do not modify it."""
    folder = tmp_path_factory.mktemp("written")
    (folder / "story.txt").write_text(STORY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHAINRULE_CACHE", str(folder / "cache"))
        data = text.load(folder / "story.txt")
        settings = {"options": {"size": "tiny"}, "epochs": 1, "steps_per_epoch": 60, "lr": 0.02}
        config = experiment.configure("gpt", data, **settings)
        this_run = run.create(config, folder / "run", lambda target: TEXT.write_files(data, target))
        experiment.prepare(this_run, data).fit(1)
    return this_run


@pytest.fixture
def here_run(written, here):
    """A copy, in the current folder."""
    return shutil.copytree(written.folder, here / "run")


def test_the_prompt_and_what_follows_are_all_that_is_printed(command, here_run):
    done = command("generate", "run", "--prompt", "the c", "--tokens", 40)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("the c")
    assert len(done.out) in (45, 46)  # with a new line at the end, if the text has none
    assert done.out.endswith("\n")
    assert set(done.out) <= set(STORY)


def test_the_text_is_what_the_library_draws(written, command):
    done = command(
        "generate", written.folder, "--prompt", "a hat", "--tokens", 30, "--seed", 5, "--temperature", 0.9, "--top-k", 3
    )
    network, tokenizer = written.load_network(), TEXT.load_tokenizer(written)
    drawn = text.generate(
        network, tokenizer.encode("a hat").astype(np.int64), 30, 0.9, 3, None, np.random.default_rng(5)
    )
    assert done.out.removesuffix("\n") == ("a hat" + tokenizer.decode(list(drawn))).removesuffix("\n")


def test_the_seed_decides(command, here_run):
    one, again, other = (command("generate", "run", "--seed", seed).out for seed in (1, 1, 2))
    assert one == again != other
    greedy = {command("generate", "run", "--temperature", 0, "--seed", seed).out for seed in (1, 2)}
    assert len(greedy) == 1


def test_a_stream_is_the_same_text(command, here_run):
    assert command("generate", "run", "--stream").out == command("generate", "run", "--no-stream").out


def test_the_newest_run_is_used(command, here_run, here):
    (here / "runs").mkdir()
    shutil.move(here_run, here / "runs" / "mine")
    assert command("generate", "--tokens", 3).code == 0
    assert command("generate", "mine", "--tokens", 3).out == command("generate", "runs", "--tokens", 3).out


def test_control_characters_do_not_reach_the_terminal(command, here_run):
    document = json.loads((here_run / "tokenizer.json").read_text())
    characters = document["characters"].replace("t", "\x1b").replace("!", "\u202e")
    (here_run / "tokenizer.json").write_text(json.dumps({**document, "characters": characters}))
    done = command("generate", "run", "--tokens", 200)
    assert done.code == 0
    assert r"\x1b" in done.out
    assert "\x1b" not in done.out
    assert "\u202e" not in done.out


def test_without_a_new_line_a_text_begins_with_the_first_token(command, here_run):
    characters = json.loads((here_run / "tokenizer.json").read_text())["characters"]
    CharTokenizer(characters.replace("\n", "Z")).save(here_run / "tokenizer.json")
    assert command("generate", "run", "--tokens", 5).code == 0
    pieces = continuation(run.Run(here_run), None, 5, Sampler(), seed=0)
    assert len("".join(pieces)) == 5


REFUSED = {
    "an unknown character": (("--prompt", "thé"), "the prompt has 'é', and the model has only the 14 characters"),
    "an empty prompt": (("--prompt", ""), "the prompt is empty; leave out --prompt"),
    "a long prompt": (
        ("--prompt", "a" * 33),
        "the prompt has 33 tokens, more than the 32 of the model's context; shorten it",
    ),
    "a temperature below 0": (("--temperature", -1), "temperature must not be negative, got -1.0"),
    "no temperature": (("--temperature", "nan"), "temperature must not be negative, got nan"),
    "no tokens to choose from": (("--top-k", 0), "top_k must be at least 1, not 0"),
    "no probability": (("--top-p", 0), "top_p must be above 0 and at most 1, not 0.0"),
    "no tokens": (("--tokens", 0), "the number of tokens must be at least 1, not 0"),
    "a seed below 0": (("--seed", -1), "the seed must be at least 0, not -1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(command, written, case):
    options, message = REFUSED[case]
    done = command("generate", written.folder, *options)
    assert (done.code, done.out) == (2, "")
    assert re.fullmatch(f"chainrule: {message}.*\n", done.err), done.err


def test_the_longest_prompt_is_accepted(command, written):
    assert command("generate", written.folder, "--prompt", "a" * 32, "--tokens", 5).code == 0


def test_a_model_of_images_generates_no_text(command, trained):
    done = command("generate", trained[0])
    assert (done.code, done.out) == (2, "")
    assert "mlp reads images and cannot generate text" in done.err
    assert "chainrule predict IMAGE --run" in done.err
    assert "chainrule train --model gpt" in done.err


def test_a_damaged_tokenizer_is_refused(command, here_run):
    (here_run / "tokenizer.json").write_text("{")
    done = command("generate", "run")
    assert (done.code, done.out) == (2, "")
    assert re.match(r"chainrule: run.tokenizer\.json: is not JSON", done.err)


def test_a_closed_pipe_ends_it_quietly(written):
    """As in `chainrule generate | head -1`."""
    command = [sys.executable, "-m", "chainrule", "generate", str(written.folder), "--tokens", "100000", "--stream"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as begun:
        assert begun.stdout.readline()
        begun.stdout.close()
        assert begun.wait(timeout=60) == 141
        assert begun.stderr.read() == ""


def test_control_c_ends_it_quietly(start, written):
    begun = start("generate", written.folder, "--tokens", 1_000_000, "--stream")
    begun.stdout.readline()
    begun.send_signal(signal.SIGINT)
    _, err = begun.communicate(timeout=60)
    assert (begun.returncode, err.strip()) == (130, "")


def test_training_ends_with_a_sample(command, here):
    (here / "story.txt").write_text(STORY)
    options = ("--size", "tiny", "--steps-per-epoch", 40, "--epochs", 1, "--lr", 0.02, "--out", "run")
    lines = command("train", "--data", "story.txt", *options).out.splitlines()
    start = lines.index("the model writes")
    assert lines[start + 1].startswith("  ")
    assert lines[-1] == "next: chainrule generate run"
