"""`chainrule models`, `data` and `completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from chainrule.cli.output import print_lines, print_table


@click.command(
    epilog="""\b
Examples:
  chainrule models
  chainrule models cnn --batch-size 64
  chainrule train --model sigmoid_mlp"""
)
@click.argument("name", required=False)
@click.option(
    "--batch-size", type=click.IntRange(min=1), default=1, show_default=True, help="Images, rows or texts at once."
)
def models(name: str | None, batch_size: int) -> None:
    """List the available models and their training recipes, or describe the layers of one.

    For each layer of a model: its output, parameters, memory (parameters and output) and multiply-adds.
    """
    from chainrule.models import REGISTRY  # each listing imports only what it needs

    if name is not None:
        from chainrule.models import build, get
        from chainrule.models.examples import random_batch
        from chainrule.models.summary import summary

        network = build(name)
        print_lines(*str(summary(network, random_batch(get(name), network, batch_size)[0])).splitlines())
        return
    rows = []
    for model in REGISTRY.values():
        recipe = model.recipe
        epochs = f"{recipe.epochs} epoch{'' if recipe.epochs == 1 else 's'}"
        settings = f"{recipe.optimizer}, lr {recipe.lr:g}, batch size {recipe.batch_size}, {epochs}"
        rows.append((model.name, model.summary, settings))
    print_table(rows)


@click.command(
    epilog="""\b
Examples:
  chainrule data
  chainrule train --data fashion-mnist
  chainrule train --model gpt --data names"""
)
def data() -> None:
    """List the data sets, the texts and the cache folder.

    `train --data` also takes any folder of IDX or .npy files or of class folders with pictures, .npz files, CSV tables
    and, to train a language model, any text file.
    """
    from chainrule.data import available, cache_folder
    from chainrule.text import CORPORA

    rows = [(e.name, f"cached, {e.bytes / 1e6:.0f} MB" if e.cached else "not cached", e.about) for e in available()]
    texts = [(t.name, "installed" if t.installed else f"not installed: {t.command}", t.about) for t in CORPORA.values()]
    print_table([*rows, *texts])
    try:
        print_lines(f"cache: {cache_folder()}  (set CHAINRULE_CACHE to change it)")
    except OSError as error:
        print_lines(f"no cache folder: {error.strerror or error}  (set CHAINRULE_CACHE to choose one)")


@click.command(
    epilog="""\b
Examples:
  eval "$(chainrule completion bash)"                 in ~/.bashrc
  eval "$(chainrule completion zsh)"                  in ~/.zshrc
  chainrule completion fish | source                  in ~/.config/fish/config.fish"""
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that completes chainrule's commands and options in SHELL. The examples enable it permanently."""
    from chainrule.cli import cli

    kind = get_completion_class(shell)
    if kind is not None:
        print_lines(*kind(cli, {}, "chainrule", "_CHAINRULE_COMPLETE").source().split("\n"))
