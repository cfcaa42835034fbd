"""`chainrule models`, `chainrule data` and `chainrule completion`."""

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
    "--batch-size", type=click.IntRange(min=1), default=1, show_default=True, help="Images, rows or texts per batch."
)
def models(name: str | None, batch_size: int) -> None:
    """List the available models and their training recipes, or describe the layers of one.

    For each layer: the shape of its output, and its parameters, memory (for parameters and output) and multiply-adds.
    """
    from chainrule.models import REGISTRY  # imported here, so that each command imports only what it needs

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
    """List the data sets and the texts, and name the cache folder.

    `train --data` also takes your own data: a folder of IDX or .npy files, a folder of class folders with pictures, an
    .npz file, a CSV table or, to train a language model, a text file.
    """
    from chainrule.data import available, cache_folder
    from chainrule.text import CORPORA

    rows = []
    for source in available():
        state = f"cached, {source.bytes / 1e6:.0f} MB" if source.cached else "not cached"
        rows.append((source.name, state, source.about))
    for corpus in CORPORA.values():
        state = "installed" if corpus.installed else f"not installed: {corpus.command}"
        rows.append((corpus.name, state, corpus.about))
    print_table(rows)
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
    """Print a script that completes chainrule's commands and options in SHELL.

    The examples show which file to put it in.
    """
    from chainrule.cli import cli

    completion_class = get_completion_class(shell)
    if completion_class is not None:
        print_lines(*completion_class(cli, {}, "chainrule", "_CHAINRULE_COMPLETE").source().split("\n"))
