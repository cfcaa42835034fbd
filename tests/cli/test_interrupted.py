"""Training that is stopped by Ctrl-C, kill -9 or a full disk, and resumes to the same bits."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from chainrule.cli import cli
from chainrule.cli.signals import NAMES
from chainrule.training import checkpoint
from chainrule.training import run as runs

pty = pytest.importorskip("pty", reason="signals and terminals of POSIX")

DRIVER = Path(__file__).with_name("driver.py")

LONG = [
    "--model",
    "sigmoid_mlp",
    "--batch-size",
    "10",
    "--epochs",
    "6",
    "--seed",
    "2",
    "--lr",
    "0.5",
]  # 25 steps an epoch
SHORT = ["--epochs", "3", "--batch-size", "50", "--seed", "2"]  # 5 steps an epoch, one cycle, AdamW

# Runs a program in a pseudo-terminal
IN_TERMINAL = "import os, sys; os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])"
# Runs the command with a limit of the file size, like a full disk
IN_LITTLE_SPACE = (
    "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2);"
    "from chainrule.cli import main; main()"
)


@pytest.fixture(autouse=True)
def _signals_are_heard():
    """Restore signals that are ignored under nohup or in the background, because commands would inherit this."""
    ignored = [number for number in (signal.SIGINT, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(scope="module")
def outcomes():
    return {}


@pytest.fixture
def never_stopped(command, images, here, outcomes):
    """The outcome of uninterrupted training, computed once for each set of options."""

    def train(options):
        if tuple(options) not in outcomes:
            done = command("train", "--data", images, *options, "--out", "never stopped", "--json")
            assert done.code == 0, done.err
            outcomes[tuple(options)] = outcome(here / "never stopped", done)
        return outcomes[tuple(options)]

    return train


def in_a_terminal_of_its_own(driver, *arguments):
    """Start the command in its own session and terminal; returns the process and the terminal's master end."""
    master, slave = pty.openpty()
    begun = subprocess.Popen(
        [sys.executable, "-c", IN_TERMINAL, sys.executable, str(DRIVER), driver, *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(slave)
    return begun, master


def outcome(folder, done):
    """The reproducible parts: best weights, last state, history and result, without times."""
    document = json.loads(done.out)
    epochs = [{key: value for key, value in epoch.items() if key != "seconds"} for epoch in document["epochs"]]
    state = checkpoint.load(folder / "checkpoint" / checkpoint.FILE_NAME)
    arrays = {"network": state["network"], "optimizer": state["optimizer"]}
    return {
        "weights": (folder / "model.safetensors").read_bytes(),
        "state": repr(as_bytes(arrays)),
        "schedule and generators": [state["scheduler"], state["loader"], state["generators"], state["callbacks"]],
        "epochs": epochs,
        "result": [document["test_accuracy"], document["test_loss"]],
        "lines": len((folder / "metrics.jsonl").read_text().splitlines()),
    }


def as_bytes(value):
    if isinstance(value, dict):
        return {key: as_bytes(part) for key, part in value.items()}
    return value.tobytes() if hasattr(value, "tobytes") else value


def assert_same(actual, expected):
    for part, value in expected.items():
        assert actual[part] == value, part


def wait_for(condition, process, seconds=60):
    """Wait until a condition holds while the process runs."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.005)


def lines(folder):
    """The number of finished epochs."""
    file = folder / "metrics.jsonl"
    return file.read_text().count("\n") if file.exists() else 0


def resumed(command, folder):
    done = command("train", "--resume", folder, "--json")
    assert (done.code, done.err) == (0, "")
    return outcome(folder, done)


# Ctrl-C inside C code that raises another error


def lose(number):
    """Like pybind11 (and so matplotlib), which swallows a KeyboardInterrupt while converting arguments."""
    with contextlib.suppress(KeyboardInterrupt):
        signal.raise_signal(number)
    raise TypeError("incompatible function arguments")


@pytest.mark.parametrize("name", NAMES)
def test_a_signal_that_is_lost_ends_a_training_all_the_same(command, images, here, monkeypatch, name):
    number = getattr(signal, name)
    monkeypatch.setattr("chainrule.cli.train._draw", lambda run: lose(number))
    done = command("train", "--data", images, *SHORT, "--out", "run", "--quiet")
    assert (done.code, done.out, done.err) == (128 + number, "", "")
    assert (here / "run" / "result.json").exists()  # it arrived while drawing the curves


class HalfMade:
    """As an llvmlite.binding.ffi.OutputString that a signal has interrupted."""

    def __init__(self, number):
        signal.raise_signal(number)
        self.string = []

    def __del__(self):
        self.string.clear()


@pytest.mark.parametrize("name", NAMES)
def test_an_object_that_is_half_made_makes_no_noise(command, images, here, monkeypatch, name):
    number = getattr(signal, name)
    monkeypatch.setattr("chainrule.cli.train._draw", lambda run: HalfMade(number))
    done = command("train", "--data", images, *SHORT, "--out", "run", "--quiet")
    assert (done.code, done.out) == (128 + number, "")
    assert done.err.startswith("stopped after the last epoch, before the test; resume with: ")
    assert done.err.count("\n") == 1


def test_a_ctrl_c_that_is_lost_ends_any_command_all_the_same(command, trained, monkeypatch):
    monkeypatch.setattr("chainrule.cli.image_report._draw", lambda *_: lose(signal.SIGINT))
    done = command("evaluate", trained[0])
    assert (done.code, done.out, done.err.strip()) == (130, "", "")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_without_a_ctrl_c_stays_one(command, trained, monkeypatch):
    monkeypatch.setattr("chainrule.cli.image_report._draw", lambda *_: int("no number"))
    done = command("evaluate", trained[0])
    assert done.code == 1
    assert "ValueError: invalid literal for int() with base 10: 'no number'" in done.err


# kill -9


@pytest.mark.parametrize("event", ["step 7", "step 15", "saving 9", "best", "history"])
def test_killed_at_a_bad_moment(process, command, images, here, never_stopped, event):
    done = process("train", "--data", images, *SHORT, "--out", "run", driver=event)
    assert done.code == -signal.SIGKILL
    assert (here / "run" / "checkpoint" / checkpoint.FILE_NAME).exists()
    assert not (here / "run" / "result.json").exists()
    assert_same(resumed(command, here / "run"), never_stopped(SHORT))


def test_killed_twice(process, command, images, here, never_stopped):
    assert process("train", "--data", images, *SHORT, "--out", "run", driver="step 4").code == -signal.SIGKILL
    assert process("train", "--resume", "run", driver="step 5").code == -signal.SIGKILL
    state = checkpoint.load(here / "run" / "checkpoint" / checkpoint.FILE_NAME)["progress"]
    assert (state["epoch"], state["step"]) == (1, 4)
    assert_same(resumed(command, here / "run"), never_stopped(SHORT))


def test_killed_before_it_could_save_anything(process, command, images, here, never_stopped):
    done = process("train", "--data", images, *SHORT, "--out", "run", driver="saving 1")
    assert done.code == -signal.SIGKILL
    assert not (here / "run" / "checkpoint" / checkpoint.FILE_NAME).exists()
    assert_same(resumed(command, here / "run"), never_stopped(SHORT))


@pytest.mark.parametrize("driver", ["slow", "slow saving"])
def test_killed_at_any_moment(start, command, images, here, never_stopped, driver):
    begun = start("train", "--data", images, *LONG, "--out", "run", "--quiet", driver=driver)
    wait_for(lambda: lines(here / "run") >= 2, begun)
    begun.kill()
    begun.communicate()
    assert begun.returncode == -signal.SIGKILL, "it was over too soon"
    assert not (here / "run" / "result.json").exists()
    assert_same(resumed(command, here / "run"), never_stopped(LONG))


def test_a_run_that_was_killed_is_listed_and_used(process, command, images):
    process("train", "--data", images, *SHORT, "--out", "runs/killed", driver="step 12")
    process("train", "--data", images, *SHORT, "--out", "runs/at once", driver="step 1")
    done = command("runs")
    assert done.code == 0
    listed = [re.split(r"  +", line) for line in done.out.splitlines()]
    assert [(row[0], row[-1]) for row in listed] == [("killed", "2 of 3 epochs"), ("at once", "0 of 3 epochs")]
    assert command("evaluate", "killed", "--json").code == 0
    done = command("evaluate")
    assert done.code == 2
    assert done.err == (
        "chainrule: runs/at once/model.safetensors: does not exist yet: the first epoch is not complete\n"
    )


# Ctrl-C


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["", "json"])
def test_control_c_saves_and_says_how_to_go_on(start, command, images, here, never_stopped, options):
    folder = here / "my runs" / "it's"
    begun = start("train", "--data", images, *LONG, "--out", "my runs/it's", *options, driver="slow")
    wait_for(lambda: lines(folder) >= 1, begun)
    begun.send_signal(signal.SIGINT)
    out, err = begun.communicate(timeout=60)
    assert begun.returncode == 130, (out, err)
    assert "Traceback" not in err
    assert "stopping after this step (Ctrl-C again quits immediately)" in err
    assert (out == "") == bool(options)
    ((epoch, words),) = re.findall(r"stopped in epoch (\d+); resume with: (chainrule train --resume .*)\n", err)
    state = checkpoint.load(folder / "checkpoint" / checkpoint.FILE_NAME)
    done, step = state["progress"]["epoch"], state["progress"]["step"]
    assert done == int(epoch) - 1
    assert step == state["loader"]["position"] > 0  # in the middle of an epoch

    program, *arguments = shlex.split(words)
    assert program == "chainrule"
    if options:  # and resume in the other mode
        ended = command(*arguments)
        assert ended.code == 0, ended.err
        assert f"resuming from epoch {done + 1}, step {step + 1} of 25" in ended.out
        assert (folder / "model.safetensors").read_bytes() == never_stopped(LONG)["weights"]
    else:
        ended = command(*arguments, "--json")
        assert (ended.code, ended.err) == (0, "")
        assert_same(outcome(folder, ended), never_stopped(LONG))


def test_control_c_twice_quits_at_once(start, command, images, here, never_stopped):
    begun = start("train", "--data", images, *SHORT, "--out", "run", driver="hang")
    wait_for((here / "run" / "checkpoint" / checkpoint.FILE_NAME).exists, begun)
    begun.send_signal(signal.SIGINT)
    assert "stopping after this step" in begun.stderr.readline()
    assert begun.stderr.readline() == "hanging\n"  # before that, it might be importing
    assert begun.poll() is None
    begun.send_signal(signal.SIGINT)
    out, err = begun.communicate(timeout=20)
    assert begun.returncode == 130, (out, err)
    assert "Traceback" not in err
    assert "resume with" not in err
    assert_same(resumed(command, here / "run"), never_stopped(SHORT))


@pytest.mark.parametrize("function", ["experiment.finish", "_draw"])
def test_control_c_after_the_last_epoch(command, images, monkeypatch, function):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    arguments = ("train", "--data", images, "--epochs", 1, "--out", "run")
    with monkeypatch.context() as patch:
        patch.setattr(f"chainrule.cli.train.{function}", interrupted)
        done = command(*arguments)
    assert done.code == 130
    assert done.err == "stopped after the last epoch, before the test; resume with: chainrule train --resume run\n"
    again = command("train", "--resume", "run", "--quiet")
    assert (again.code, again.err, again.out[:13]) == (0, "", "test accuracy")


# Other termination signals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["SIGTERM", "SIGHUP"])
def test_it_saves_on_other_signals_too(start, command, images, here, never_stopped, number, code):
    """Signals of `docker stop`, preemption, or a lost connection."""
    begun = start("train", "--data", images, *LONG, "--out", "run", driver="slow")
    wait_for(lambda: lines(here / "run") >= 1, begun)
    time.sleep(0.1)
    begun.send_signal(number)
    out, err = begun.communicate(timeout=60)
    assert begun.returncode == code, (out, err)
    assert err.splitlines()[0] == f"stopping after this step ({number.name} again quits immediately)"
    assert re.fullmatch(r"stopped in epoch \d; resume with: chainrule train --resume run", err.splitlines()[1])
    state = checkpoint.load(here / "run" / "checkpoint" / checkpoint.FILE_NAME)
    assert state["progress"]["step"] > 0  # in the middle of an epoch: saved because of the signal
    assert_same(resumed(command, here / "run"), never_stopped(LONG))


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_a_second_signal_quits_at_once(start, command, images, here, never_stopped, second):
    begun = start("train", "--data", images, *SHORT, "--out", "run", driver="hang")
    wait_for((here / "run" / "checkpoint" / checkpoint.FILE_NAME).exists, begun)
    begun.send_signal(signal.SIGTERM)
    assert "SIGTERM again quits immediately" in begun.stderr.readline()
    assert begun.stderr.readline() == "hanging\n"
    begun.send_signal(second)
    out, err = begun.communicate(timeout=20)
    assert begun.returncode == 128 + second, (out, err)
    assert err == "stopped immediately; resume from the last checkpoint with: chainrule train --resume run\n"
    assert_same(resumed(command, here / "run"), never_stopped(SHORT))


def test_a_terminal_that_is_closed(images, here, command, never_stopped):
    """Writing to it fails, which must not prevent saving."""
    begun, master = in_a_terminal_of_its_own("slow", "train", "--data", str(images), *LONG, "--out", "run")
    try:
        wait_for(lambda: lines(here / "run") >= 1, begun)
        time.sleep(0.1)
        os.close(master)
        assert begun.wait(60) == 129
    finally:
        begun.kill()
        begun.wait()
    assert checkpoint.load(here / "run" / "checkpoint" / checkpoint.FILE_NAME)["progress"]["step"] > 0
    assert_same(resumed(command, here / "run"), never_stopped(LONG))


def test_nohup_means_that_a_closed_terminal_changes_nothing(start, images, here):
    begun = start(
        "train", "--data", images, *SHORT, "--out", "run", "--json", driver="slow",
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )  # fmt: skip
    wait_for((here / "run" / "checkpoint" / checkpoint.FILE_NAME).exists, begun)
    begun.send_signal(signal.SIGHUP)
    out, err = begun.communicate(timeout=60)
    assert (begun.returncode, err) == (0, "")
    assert len(json.loads(out)["epochs"]) == 3


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_before_there_is_a_trainer_it_quits_at_once(command, images, here, monkeypatch, name, code):
    number = getattr(signal, name)
    handlers = {n: signal.getsignal(getattr(signal, n)) for n in NAMES}

    def load(name, **reading):
        os.kill(os.getpid(), number)
        time.sleep(5)  # until Python handles the signal
        raise AssertionError

    monkeypatch.setattr("chainrule.data.load", load)
    done = command("train", "--data", images, "--out", "run")
    assert (done.code, done.out, done.err) == (code, "", "")
    assert not (here / "run").exists()
    assert {n: signal.getsignal(getattr(signal, n)) for n in NAMES} == handlers


def test_in_another_thread_it_trains_without_signals(images, here):
    """Only the main thread can set signal handlers."""
    ends = []
    thread = threading.Thread(target=lambda: ends.append(cli.main(
        ["train", "--data", str(images), *SHORT, "--out", "run", "--quiet"], standalone_mode=False)))  # fmt: skip
    thread.start()
    thread.join()
    assert ends == [None]


# A terminal


def on_terminal(start, *arguments, driver=None, **environment):
    """Start the command in a pseudo-terminal; returns the process and the terminal's master end."""
    master, slave = pty.openpty()
    environment = {"TERM": "xterm-256color", "COLUMNS": "100", **environment}
    begun = start(*arguments, driver=driver, stdin=slave, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    return begun, master


def read_all(master):
    """All output of the process."""
    shown = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # Linux: the other end is closed
            part = b""
        if not part:
            os.close(master)
            return shown.decode(errors="replace")  # the echoed ^C may split a multi-byte character
        shown += part


def test_a_terminal_has_a_live_bar(start, images):
    begun, master = on_terminal(start, "train", "--data", images, *LONG, "--out", "run", driver="slow")
    shown = read_all(master)
    assert begun.wait(60) == 0
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1  # the cursor, hidden and shown again
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert re.search(r"epoch 1/6 .*  0% .*loss -  accuracy -", plain)
    assert re.search(r"epoch [2-6]/6 .*\d+% .*loss \d\.\d{4}  accuracy \d+\.\d\d%", plain)
    assert re.search(r"\x1b\[[0-9;]*3[0-9]", shown)  # in color
    assert re.search(r"^    6  .*%", plain.replace("\r", "\n"), re.M)  # the table, one line per epoch
    assert plain.rstrip().endswith("next: chainrule evaluate run --mistakes mistakes.png")


def test_no_color_means_none(start, images):
    begun, master = on_terminal(start, "train", "--data", images, "--epochs", "1", "--out", "run", NO_COLOR="1")
    shown = read_all(master)
    assert begun.wait(60) == 0
    assert "epoch 1/1" in shown
    codes = re.findall(r"\x1b\[([0-9;]*)m", shown)
    assert not [code for code in codes if re.search(r"(^|;)(3[0-8]|4[0-8]|9[0-7])(;|$)", code)]


def test_a_terminal_has_no_bar_where_none_is_wanted(start, images):
    begun, master = on_terminal(start, "train", "--data", images, "--epochs", "1", "--out", "run", "--quiet")
    shown = read_all(master)
    assert begun.wait(60) == 0
    assert "\x1b" not in shown
    assert "epoch 1/1" not in shown


def test_control_c_typed_in_a_terminal(start, images, here):
    """Ctrl-C reaches all processes of the terminal, and the terminal is restored."""
    begun, master = in_a_terminal_of_its_own("slow", "train", "--data", str(images), *LONG, "--out", "run")
    try:
        wait_for(lambda: lines(here / "run") >= 1, begun)
        os.write(master, b"\x03")
        shown = read_all(master)
        assert begun.wait(60) == 130
    finally:
        begun.kill()
        begun.wait()
    assert "Traceback" not in shown
    assert "stopping after this step (Ctrl-C again quits immediately)" in shown
    assert "resume with: chainrule train --resume run" in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1
    assert shown.rindex("\x1b[?25h") < shown.index("resume with")


# A full disk


def test_a_full_disk_ends_it_with_a_sentence_and_the_last_state(images, here, command, never_stopped):
    done = subprocess.run(
        [sys.executable, "-c", IN_LITTLE_SPACE, "150000", "train", "--data", images, *SHORT, "--out", "run", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    file = runs.Run("run").checkpoint_file
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"chainrule: {file}: File too large\n"  # the error of this limit
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert checkpoint.load(file)["progress"]["epoch"] == 0  # the first, which was smaller
    assert_same(resumed(command, here / "run"), never_stopped(SHORT))
