"""`chainrule models`, `data`, `runs` and `completion`: what there is, a line each."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from chainrule.cli.output import print_table


@click.command()
def models() -> None:
    """List the models that can be trained, with the recipe of each."""
    from chainrule.models import REGISTRY  # each listing loads only what it lists

    rows = [
        (
            model.name,
            model.summary,
            f"{model.recipe.optimizer}, rate {model.recipe.lr:g}, batches of {model.recipe.batch_size}, {model.recipe.epochs} epochs",
        )
        for model in REGISTRY.values()
    ]
    print_table(rows)


@click.command()
def data() -> None:
    """List the data sets, and where those already here are kept; any folder of IDX files will do too."""
    from chainrule.data import available, cache_folder

    rows = [
        (e.name, f"in the cache, {e.bytes / 1e6:.0f} MB" if e.cached else "not yet in the cache", e.about)
        for e in available()
    ]
    print_table(rows)
    click.echo(f"cache: {cache_folder()}  (CHAINRULE_CACHE sets another)")


@click.command()
@click.argument("folder", default="runs", type=click.Path())
def runs(folder: str) -> None:
    """List the runs in FOLDER (runs/ if left out), the newest last."""
    from chainrule.training.run import every

    found = every(folder)
    if not found:
        click.echo(f"there is no run in {folder} yet: train one with: chainrule train", err=True)
        return
    rows = []
    for run in found:
        history, result, epochs = run.history, run.result, run.config["training"]["epochs"]
        state = f"test {result['test_accuracy']:.2%}" if result else f"stopped after {len(history)} of {epochs} epochs"
        rows.append(
            (
                run.folder.name,
                run.config["model"]["name"],
                run.config["data"]["name"],
                f"seed {run.config['seed']}",
                state,
            )
        )
    print_table(rows)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that completes chainrule's commands and options in SHELL.

    For bash, for example, put this line into ~/.bashrc:  eval "$(chainrule completion bash)"
    """
    from chainrule.cli import cli

    kind = get_completion_class(shell)
    if kind is not None:
        click.echo(kind(cli, {}, "chainrule", "_CHAINRULE_COMPLETE").source())
