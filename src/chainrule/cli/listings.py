"""`chainrule models`, `data`, `runs` and `completion`: what there is, a line each."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from chainrule.cli.output import LONGEST, print_table, say
from chainrule.errors import RunError, shortened


@click.command(
    epilog="""\b
Examples:
  chainrule models
  chainrule train --model sigmoid_mlp"""
)
def models() -> None:
    """List the models that can be trained, with the recipe of each."""
    from chainrule.models import REGISTRY  # each listing loads only what it lists

    rows = []
    for model in REGISTRY.values():
        recipe = model.recipe
        epochs = f"{recipe.epochs} epoch{'' if recipe.epochs == 1 else 's'}"
        how = f"{recipe.optimizer}, rate {recipe.lr:g}, batches of {recipe.batch_size}, {epochs}"
        rows.append((model.name, model.summary, how))
    print_table(rows)


@click.command(
    epilog="""\b
Examples:
  chainrule data
  chainrule train --data fashion-mnist"""
)
def data() -> None:
    """List the data sets, and where those already here are kept; any folder of IDX files will do too."""
    from chainrule.data import available, cache_folder

    rows = [
        (e.name, f"in the cache, {e.bytes / 1e6:.0f} MB" if e.cached else "not yet in the cache", e.about)
        for e in available()
    ]
    print_table(rows)
    try:
        say(f"cache: {cache_folder()}  (CHAINRULE_CACHE sets another)")
    except OSError as error:
        say(f"cache: none, for {error.strerror or error}  (CHAINRULE_CACHE sets one)")


@click.command(
    epilog="""\b
Examples:
  chainrule runs
  chainrule runs experiments/"""
)
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False))
def runs(folder: str | None) -> int:
    """List the runs in FOLDER (runs/ if left out), the newest last."""
    from chainrule.training.run import RUNS, every

    faults: list[RunError] = []
    rows = []
    for run in every(folder or RUNS, faults):
        config = run.config
        try:
            done, result = len(run.history), run.result
        except RunError as error:
            faults.append(error)
            continue
        state = f"test {result['test_accuracy']:.2%}" if result else f"{done} of {config['training']['epochs']} epochs"
        rows.append((run.folder.name, config["model"]["name"], config["data"]["name"], f"seed {config['seed']}", state))
    if rows:
        print_table(rows)
    elif not faults:
        say(f"there is no run in {folder or RUNS} yet: train one with: chainrule train", err=True)
    for fault in faults:
        say(f"chainrule: {shortened(str(fault), LONGEST)}", err=True)
    return 2 if faults else 0


@click.command(
    epilog="""\b
Examples:
  eval "$(chainrule completion bash)"                 in ~/.bashrc
  eval "$(chainrule completion zsh)"                  in ~/.zshrc
  chainrule completion fish | source                  in ~/.config/fish/config.fish"""
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that completes chainrule's commands and options in SHELL; the examples switch it on for good."""
    from chainrule.cli import cli

    kind = get_completion_class(shell)
    if kind is not None:
        say(*kind(cli, {}, "chainrule", "_CHAINRULE_COMPLETE").source().split("\n"))
