"""Exit codes of the command: 0, 2 with one sentence, 1 with a traceback, 130, 141."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
import warnings
from contextlib import suppress
from pathlib import Path

import click
import pytest
from PIL import Image

import chainrule
from chainrule.cli import COMMANDS, cli, listings
from chainrule.cli.arguments import PathName
from chainrule.data import CacheWarning
from chainrule.errors import DataError
from chainrule.models import REGISTRY


@pytest.fixture
def broken(monkeypatch):
    """Make `chainrule models` fail."""

    def fail_with(error):
        def callback(**options):
            raise error

        monkeypatch.setattr(listings.models, "callback", callback)

    return fail_with


def test_well(command):
    done = command("models")
    assert (done.code, done.err) == (0, "")


def test_version(command):
    assert command("--version").out == f"chainrule {chainrule.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch"], "chainrule: no such command 'nosuch'; choose from train, sweep, evaluate, predict,"),
        (["plya"], "chainrule: no such command 'plya'; did you mean 'play'?\nTry 'chainrule --help'\n"),
        (["trian"], "chainrule: no such command 'trian'; did you mean 'train'?\nTry 'chainrule --help'\n"),
        (["train", "--modle", "mlp"], "id you mean"),  # in click's words, which differ between its versions
        (["train", "--color"], "chainrule: no such option"),
        (["train", "--model", "resnet"], "'resnet' is not one of 'mlp', 'sigmoid_mlp'"),
        (["train", "--optimizer", "newton"], "'newton' is not one of 'sgd', 'adam', 'adamw'"),
        (["train", "--epochs", "many"], "'many' is not a valid integer"),
        (["train", "--lr", "fast"], "'fast' is not a valid float"),
        (["train", "mnist"], "unexpected extra argument"),
        (["completion"], "Choose from: bash, zsh, fish\n"),
        (["completion", "tcsh"], "'tcsh' is not one of 'bash', 'zsh', 'fish'"),
        (["runs", "nowhere"], "'nowhere' does not exist"),
        (["train", "--resume", ""], "invalid value for '--resume': the path is empty"),
        (["train", "--out", ""], "invalid value for '--out': the path is empty"),
        (["train", "--data", ""], "invalid value for '--data': the path is empty"),
        (["evaluate", ""], "invalid value for '[RUN]': the path is empty"),
        (["evaluate", "--mistakes", ""], "invalid value for '--mistakes': the path is empty"),
        (["evaluate", "--confusion", ""], "invalid value for '--confusion': the path is empty"),
        (["predict", ""], "invalid value for '[IMAGE]...': the path is empty"),
        (["predict", "a.png", "--run", ""], "invalid value for '--run': the path is empty"),
        (["predict", "a.png", "--explain", ""], "invalid value for '--explain': the path is empty"),
        (["read", ""], "invalid value for '[PHOTO]...': the path is empty"),
        (["read", "a.png", "--run", ""], "invalid value for '--run': the path is empty"),
        (["read", "a.png", "--out", ""], "invalid value for '--out': the path is empty"),
        (["lesson", "1", "--out", ""], "invalid value for '--out': the path is empty"),
        (["runs", ""], "Directory '' does not exist"),
    ],
    ids=" ".join,
)
def test_a_command_line_that_is_wrong(command, here, arguments, message):
    done = command(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert message in done.err
    assert not list(here.iterdir())


def test_a_users_error_is_one_sentence(command, broken):
    broken(DataError("folder/file is no IDX file"))
    done = command("models")
    assert (done.code, done.out, done.err) == (2, "", "chainrule: folder/file is no IDX file\n")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "runs/x/config.json"),
            "runs/x/config.json: No space left on device",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError("something else"), "something else"),
        (PermissionError(errno.EACCES, "Permission denied", "runs"), "runs: Permission denied"),
    ],
    ids=str,
)
def test_an_error_of_the_system_is_one_sentence(command, broken, error, message):
    broken(error)
    done = command("models")
    assert (done.code, done.out, done.err) == (2, "", f"chainrule: {message}\n")


def test_a_warning_for_the_user_is_one_sentence(command, monkeypatch):
    def callback(**options):
        warnings.warn("the cache cannot be used", CacheWarning, stacklevel=1)
        warnings.warn("this is old", DeprecationWarning, stacklevel=1)

    monkeypatch.setattr(listings.models, "callback", callback)
    with pytest.warns(DeprecationWarning, match="this is old"):  # other warnings are handled as usual
        done = command("models")
    assert (done.code, done.err) == (0, "chainrule: the cache cannot be used\n")


def test_too_little_memory_is_one_sentence(command, broken):
    broken(MemoryError("Unable to allocate 7 TiB"))
    done = command("models")
    assert (done.code, done.err) == (1, "chainrule: not enough memory (Unable to allocate 7 TiB)\n")
    broken(MemoryError())
    assert command("models").err == "chainrule: not enough memory\n"


def test_every_path_is_refused_if_it_is_empty():
    """Each option and argument that takes a path, including future ones; click itself checks paths that must exist."""
    for name in COMMANDS:
        for parameter in cli.get_command(None, name).params:
            if isinstance(parameter.type, click.Path):
                assert isinstance(parameter.type, PathName) or parameter.type.exists, (name, parameter.name)


@pytest.mark.parametrize("arguments", [["evaluate", "shipped"], ["predict"], ["read"], ["train"]], ids=" ".join)
def test_a_wrong_number_of_threads_blames_the_setting(process, here, images, arguments):
    if arguments[0] in ("predict", "read"):
        Image.effect_noise((100, 100), 50).save(here / "a.png")
        arguments = [*arguments, "a.png"]
    if arguments == ["train"]:
        arguments = ["train", "--data", images, "--epochs", "2", "--out", "run"]
    done = process(*arguments, env={"CHAINRULE_THREADS": "abc"})
    assert (done.code, done.out) == (2, "")
    assert done.err == "chainrule: CHAINRULE_THREADS is 'abc': it must be an integer of at least 1\n"
    assert not (here / "run").exists()
    assert process(arguments[0], "--help", env={"CHAINRULE_THREADS": "abc"}).code == 0


def test_a_fault_of_ours_shows_where_it_is(command, broken):
    broken(ZeroDivisionError("division by zero"))
    done = command("models")
    assert done.code == 1
    assert "Traceback (most recent call last)" in done.err
    assert "ZeroDivisionError: division by zero" in done.err
    assert done.err.endswith("chainrule: internal error; please report it with the traceback above\n")


def test_control_c_anywhere(command, broken):
    broken(KeyboardInterrupt())
    done = command("models")
    assert done.code == 130
    assert "Traceback" not in done.err


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
@pytest.mark.parametrize("arguments", [["models"], ["--help"], ["train", "--help"], ["train"]], ids=" ".join)
def test_a_reader_who_has_seen_enough(start, images, arguments):
    if arguments == ["train"]:
        arguments = ["train", "--data", images, "--epochs", "2", "--out", "run"]
    read, write = os.pipe()
    os.close(read)
    begun = start(*arguments, stdout=write)
    os.close(write)
    _, err = begun.communicate(timeout=120)
    assert begun.returncode == 141
    assert err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("arguments", [["models"], ["train"]], ids=" ".join)
def test_an_output_that_is_full(start, images, arguments):
    if arguments == ["train"]:
        arguments = ["train", "--data", images]
    with Path("/dev/full").open("w") as full:
        begun = start(*arguments, stdout=full)
        _, err = begun.communicate(timeout=120)
    assert (begun.returncode, err) == (2, "chainrule: No space left on device\n")


@pytest.mark.skipif(os.name != "posix", reason="closing of POSIX")
@pytest.mark.parametrize("arguments", [["models"], ["train", "--epochs", "2"]], ids=" ".join)
def test_an_output_that_is_closed(start, images, arguments):
    """With a closed standard output, as in `chainrule train >&-`."""
    data = ["--data", images] if arguments[0] == "train" else []
    begun = start(*arguments, *data, stdout=None, preexec_fn=lambda: os.close(1))
    _, err = begun.communicate(timeout=120)
    assert (begun.returncode, err) == (0, "")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")
def test_control_c_while_nobody_reads_the_output(start):
    read, write = os.pipe()
    os.set_blocking(write, False)
    for chunk in (bytes(65_536), b"x"):  # until the pipe is full
        with suppress(BlockingIOError):
            while True:
                os.write(write, chunk)
    os.set_blocking(write, True)
    begun = start("models", stdout=write)
    os.close(write)
    for _ in range(2):  # the first interrupt ends the command, which then flushes its output
        states = ""
        while not states.endswith("S" * 10):  # it waits for the reader
            time.sleep(0.1)
            states += Path(f"/proc/{begun.pid}/stat").read_text().rpartition(")")[2].split()[0]
            assert len(states) < 600
        begun.send_signal(signal.SIGINT)
    _, err = begun.communicate(timeout=60)
    os.close(read)
    assert (begun.returncode, err.strip()) == (130, "")


# Help and shell completion


def test_help_lists_every_command(command):
    done = command("--help")
    assert done.code == 0
    for name, (_, about) in COMMANDS.items():
        assert f"  {name}" in done.out
        assert about in done.out
    assert "Examples:" in done.out


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "predict"])
def test_help_has_examples_that_can_be_typed(command, name):
    done = command(name, "--help")
    assert done.code == 0
    assert "Examples:" in done.out
    examples = [line for line in done.out.split("Examples:")[1].splitlines() if line.strip()]
    assert examples
    for line in examples:
        assert "chainrule " in line
        words = line.split("chainrule ", 1)[1].split(")")[0].split()
        assert words[0] in COMMANDS
        options = {option for parameter in cli.get_command(None, words[0]).params for option in parameter.opts}
        assert {word for word in words[1:] if word.startswith("--")} <= options


@pytest.mark.parametrize("name", COMMANDS)
def test_the_short_help_is_that_of_the_command(name):
    _, about = COMMANDS[name]
    assert about.endswith(".")
    assert cli.get_command(None, name).name == name


def test_help_is_there_without_a_command(command):
    done = command()
    assert done.code == 2
    assert "Commands:" in done.err
    assert command("-h").out == command("--help").out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full disk to write to")
@pytest.mark.parametrize("arguments", [["evaluate", "nowhere"], ["nonsense"], ["train", "--epochs"]], ids=" ".join)
@pytest.mark.parametrize("full", [True, False], ids=["full disk", "closed pipe"])
def test_the_code_is_the_same_where_the_sentence_cannot_be_written(start, arguments, full):
    if full:
        with Path("/dev/full").open("w") as disk:
            assert start(*arguments, stderr=disk).wait(60) == 2
    else:
        reader, writer = os.pipe()
        os.close(reader)
        assert start(*arguments, stderr=writer).wait(60) == 2
        os.close(writer)


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "copy", "--confusion", "figure.png"],
        ["evaluate", "copy", "--mistakes", "figure.png"],
        ["predict", "1.png", "--explain", "figure.png"],
        ["train", "--resume", "copy", "--quiet"],
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_figures_in_files_need_no_backend(process, here, copy, write, arguments):
    """matplotlib cannot be imported if MPLBACKEND is invalid."""
    picture = Image.new("L", (100, 100), 225)
    write(picture, "1", 30)
    picture.save(here / "1.png")
    figure = copy / "curves.png" if arguments[0] == "train" else here / "figure.png"
    figures = []
    for backend in ("agg", "foo"):
        figure.unlink(missing_ok=True)
        done = process(*arguments, env={"MPLBACKEND": backend})
        assert (done.code, done.err) == (0, "")
        figures.append(figure.read_bytes())
    assert figures[0].startswith(b"\x89PNG")
    assert figures[1] == figures[0]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script(command, shell, tmp_path):
    done = command("completion", shell)
    assert (done.code, done.err) == (0, "")
    assert f"_CHAINRULE_COMPLETE={shell}_complete" in done.out
    if shell == "bash":
        (tmp_path / "script").write_text(done.out)
        assert subprocess.run(["bash", "-n", tmp_path / "script"], check=False).returncode == 0


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        ("chainrule ev", ["evaluate"]),
        ("chainrule train --mo", ["--model"]),
        ("chainrule train --model ", list(REGISTRY)),
        ("chainrule train --optimizer ada", ["adam", "adamw", "adamax", "adagrad", "adadelta"]),
        ("chainrule completion ", ["bash", "zsh", "fish"]),
    ],
)
def test_what_a_shell_completes(command, monkeypatch, words, completions):
    monkeypatch.setenv("_CHAINRULE_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    done = command()
    assert (done.code, done.err) == (0, "")
    assert [line.split(",")[1] for line in done.out.splitlines()] == completions
