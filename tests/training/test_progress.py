"""What people see while it trains: a line an epoch, and a live bar."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from chainrule.training import Callback, Interrupted
from chainrule.training.progress import ACCURACY_COLUMNS, Bar, EpochLines

RECORD = {
    "epoch": 3,
    "train_loss": 0.51239,
    "train_accuracy": 0.9,
    "validation_loss": 12.5,
    "validation_accuracy": 0.87431,
    "seconds": 2.04,
    "learning_rate": 0.1,
}


def test_a_line_stands_under_the_header():
    said = ACCURACY_COLUMNS.format_line(RECORD)
    assert said.split() == ["3", "0.5124", "90.00%", "12.5000", "87.43%", "2.0"]
    ends = [match.end() for match in re.finditer(r"\S+( \S+)*", ACCURACY_COLUMNS.header)]
    assert [match.end() for match in re.finditer(r"\S+", said)] == ends


def test_what_was_not_measured_is_a_dash():
    short = {key: RECORD[key] for key in ("epoch", "train_loss", "seconds")}
    assert ACCURACY_COLUMNS.format_line(short).split() == ["3", "0.5124", "-", "-", "-", "2.0"]
    assert len(ACCURACY_COLUMNS.format_line(short)) == len(ACCURACY_COLUMNS.header)


def test_lines_are_said_one_an_epoch_those_done_before_first(make_trainer):
    said = []
    trainer = make_trainer(callbacks=[EpochLines(said.append)])
    trainer.fit(2)
    assert said == [ACCURACY_COLUMNS.header, *map(ACCURACY_COLUMNS.format_line, trainer.history)]
    said.clear()
    trainer.fit(3)
    assert said == [ACCURACY_COLUMNS.header, *map(ACCURACY_COLUMNS.format_line, trainer.history)]


@pytest.fixture
def screen():
    return Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None, legacy_windows=False)


def shown(screen):
    """What was drawn, frame by frame, without the control codes."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.file.getvalue()).replace("\r", "\n")


def test_the_bar_shows_epoch_share_loss_and_accuracy(make_trainer, screen):
    make_trainer(callbacks=[Bar(screen)]).fit(2)
    frames = shown(screen)
    assert re.search(r"epoch 1/2 .* 0% .*loss -  accuracy -", frames)
    assert "nan" not in frames
    assert re.search(r"epoch [12]/2 .*loss \d\.\d{4}  accuracy (-|\d+\.\d\d%)", frames)


def test_the_bar_moves_ten_times_a_second_at_most(make_trainer, screen, monkeypatch):
    now = [0.0]

    class Clock(Callback):
        def on_loss(self, trainer, inputs, loss):
            now[0] += 0.04

    monkeypatch.setattr("chainrule.training.progress.time.perf_counter", lambda: now[0])
    bar = Bar(screen)
    moved = []
    trainer = make_trainer(callbacks=[Clock(), bar])
    bar.on_start(trainer)
    bar._bar.update = lambda task, **facts: moved.append(facts["completed"])
    bar.on_start = lambda trainer: None
    trainer.fit(3)
    assert moved == [3, 6, 9, 12]


@pytest.mark.parametrize("fault", [None, Interrupted, ValueError])
def test_the_terminal_is_left_as_it_was(make_trainer, screen, fault):
    class Fail(Callback):
        def on_start(self, trainer):
            if fault is not None:
                raise fault

    trainer = make_trainer(callbacks=[Bar(screen), Fail()])
    if fault is None:
        trainer.fit(1)
    else:
        with pytest.raises(fault):
            trainer.fit(1)
    drawn = screen.file.getvalue()
    assert drawn.count("\x1b[?25l") == drawn.count("\x1b[?25h") == 1  # the cursor, hidden and shown again
    assert drawn.rindex("\x1b[?25h") > drawn.rindex("\x1b[?25l")


def test_going_on_begins_where_it_was(make_trainer, screen):
    first = make_trainer()
    first.fit(2)
    second = make_trainer(callbacks=[Bar(screen)], seed=9)
    second.load_state_dict(first.state_dict())
    second.fit(4)
    frames = shown(screen)
    assert re.search(r"epoch 3/4 .* 50% .*accuracy \d+\.\d\d%", frames)
    assert " 0%" not in frames


def test_a_bar_that_was_never_shown_is_not_in_the_way(make_trainer, screen):
    class Fail(Callback):
        def on_start(self, trainer):
            raise ValueError("before the bar")

    with pytest.raises(ValueError, match="before the bar"):
        make_trainer(callbacks=[Fail(), Bar(screen)]).fit(1)
    assert screen.file.getvalue() == ""


def test_going_on_with_the_same_bar_shows_one(make_trainer, screen):
    trainer = make_trainer(callbacks=[Bar(screen)])
    trainer.fit(1)
    before = len(screen.file.getvalue())
    trainer.fit(3)
    frames = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.file.getvalue()[before:]).replace("\r", "\n")
    assert re.search(r"epoch 2/3 .* 33% ", frames)
    assert "epoch 1/1" not in frames


def test_a_training_without_validation_has_a_bar_too(make_trainer, screen):
    make_trainer(callbacks=[Bar(screen), EpochLines(screen.print)], validate=None).fit(2)
    assert "accuracy -" in shown(screen)


def test_the_line_of_an_epoch_stays_when_the_bar_goes(make_trainer, screen):
    make_trainer(callbacks=[EpochLines(screen.print), Bar(screen)]).fit(2)
    assert shown(screen).count(ACCURACY_COLUMNS.header) == 1
