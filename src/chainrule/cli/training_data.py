"""Loads the data that `--data` of `chainrule train` names: a data set, images, arrays, a table or a text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chainrule import data as datasets
from chainrule import text
from chainrule.data.catalog import SOURCES
from chainrule.data.pictures import is_picture_folder
from chainrule.data.tables import SUFFIXES, ClassTarget, NumberTarget, TableData, read_csv
from chainrule.errors import DataError, join_names
from chainrule.text import TextData
from chainrule.training import tasks
from chainrule.training.table_task import CLASSIFICATION, REGRESSION, TableTask
from chainrule.training.text_task import TEXT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chainrule.models import Model
    from chainrule.training.run import Run
    from chainrule.training.task import Data, Task

_DEFAULT_MODELS = {CLASSIFICATION.data_type: "mlp_classifier", REGRESSION.data_type: "mlp_regressor", TextData: "gpt"}
"""The default model for each type of data; for other types, it is mlp."""

_TABLE_OPTIONS = (
    click.option("--target", metavar="COLUMN", help="For a table: the column to predict."),
    click.option(
        "--task",
        type=click.Choice([ClassTarget.kind, NumberTarget.kind]),
        help="For a table: predict classes or numbers.  [default: by the target's values]",
    ),
    click.option("--drop", multiple=True, metavar="COLUMN", help="For a table: leave out a column (repeatable)."),
    click.option(
        "--categorical",
        multiple=True,
        metavar="COLUMN",
        help="For a table: treat a column of numbers as categories (repeatable).",
    ),
    click.option("--encoding", metavar="NAME", help="For a table: the encoding of the file.  [default: utf-8]"),
)


def table_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for tables."""
    for option in reversed(_TABLE_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True)
class DataOptions:
    """The values of `--data` and of the options on how to read the data; an option that is left out has its default."""

    data: str | None
    seed: int
    image_size: int | None = None
    validation: int | None = None
    bpe: int | None = None
    words: bool = False
    target: str | None = None
    task: str | None = None
    drop: Sequence[str] = ()
    categorical: Sequence[str] = ()
    encoding: str | None = None

    @property
    def is_text(self) -> bool:
        """Whether the data are a text: the name of a corpus, or a .txt file."""
        if self.data is None or self.data in SOURCES:
            return False
        return self.data in text.CORPORA or (self.data.endswith(".txt") and not Path(self.data).is_dir())

    @property
    def is_table(self) -> bool:
        """Whether the data are a table: a CSV file, or any file if `--target` names a column to predict."""
        if self.data is None or self.data in SOURCES or Path(self.data).is_dir():
            return False
        return self.target is not None or self.data.lower().endswith(SUFFIXES)

    @property
    def text_options(self) -> list[str]:
        """The names of the text options that were given."""
        return [name for name, is_given in (("--bpe", self.bpe is not None), ("--words", self.words)) if is_given]

    @property
    def table_options(self) -> list[str]:
        """The names of the table options that were given."""
        values = {
            "--target": self.target,
            "--task": self.task,
            "--drop": self.drop,
            "--categorical": self.categorical,
            "--encoding": self.encoding,
        }
        return [name for name, value in values.items() if value]


def default_model(data: Data) -> str:
    """Return the name of the model to train on a data set if `--model` is not given."""
    return _DEFAULT_MODELS.get(type(data), "mlp")


def load(options: DataOptions, model: Model | None, start: Run | None) -> Data:
    """Load the data set that `--data` names, or a model's default data set.

    Paths are made absolute: config.json stores them, and the run may be resumed from a different folder.

    Args:
        options: which data to load, and how to read them.
        model: the model to train; None for the default.
        start: the run whose weights training starts from; None for new weights.

    Raises:
        DataError: the data cannot be read, or are a table without `--target`.
        UsageError: an option does not apply to the data.
    """
    task = None if model is None else tasks.of(model)
    if options.is_table:
        return _load_table(options, task, start)
    source = options.data
    if source is None and isinstance(task, TableTask):
        raise click.UsageError("name the table with --data FILE, and the column to predict with --target COLUMN")
    if source is None:
        source = "mnist" if task is None else task.default_data
    if options.table_options:
        raise click.UsageError(f"{options.table_options[0]} is for a table in a CSV file, but {source} is not one")
    is_folder = source not in SOURCES and Path(source).is_dir()
    if options.image_size is not None and not (is_folder and is_picture_folder(Path(source))):
        raise click.UsageError(f"--image-size is for a folder of class folders with pictures, but {source} is not one")
    if options.is_text or (task is TEXT and source not in SOURCES and not Path(source).is_dir()):
        if options.validation is not None:
            raise click.UsageError(
                f"--validation is for images; for a text such as {source}, the last tenth is always held out"
            )
        if options.words and options.bpe is not None:
            raise click.UsageError("tokens are byte pairs (--bpe) or words (--words), not both")
        name_or_path = source if source in text.CORPORA else Path(source).resolve()
        return text.load(name_or_path, bpe=options.bpe, words=options.words)
    if options.text_options:
        raise click.UsageError(f"{options.text_options[0]} is for a text, but {source} is a set of images")
    is_path = is_folder or (source not in SOURCES and source.lower().endswith(".npz"))
    name_or_path = Path(source).resolve() if is_path else source
    images = datasets.load(name_or_path, image_size=options.image_size, seed=options.seed)
    return replace(images, validation=options.validation)


def _load_table(options: DataOptions, task: Task[Any] | None, start: Run | None) -> TableData:
    """Load a table; if `start` is a run on a table, encode the columns as that run did."""
    if options.validation is not None:
        raise click.UsageError("--validation is for images; for a table, the number of validation rows is fixed")
    image_options = [] if options.image_size is None else ["--image-size"]
    unsuitable = image_options + options.text_options
    if unsuitable:
        raise click.UsageError(f"{unsuitable[0]} does not apply to a table such as {options.data}")
    file = Path(str(options.data)).resolve()
    target, encoder = options.target, None
    if start is not None and isinstance(start.task, TableTask):
        encoder = start.task.encoder(start)
        column_options = [name for name in options.table_options if name in ("--drop", "--categorical")]
        if column_options:
            raise click.UsageError(f"--from keeps the columns of {start.folder}: leave out {column_options[0]}")
        target = encoder.target.name if target is None else target
    if target is None:
        columns = join_names(list(read_csv(file, options.encoding).columns), limit=20)
        raise DataError(f"{options.data}: name the column to predict with --target COLUMN; the columns are {columns}")
    kind = options.task
    if kind is None and isinstance(task, TableTask):
        kind = task.target_type.kind
    return datasets.load_table(
        file,
        target,
        task=kind,
        drop=options.drop,
        categorical=options.categorical,
        encoding=options.encoding,
        seed=options.seed,
        encoder=encoder,
    )
