"""Training: the loop, its callbacks, checkpoints, and runs: folders that say what was done and how well it went."""

from chainrule.training.callbacks import BestModel, Checkpoint, EarlyStopping, History, PlainEpochs, StopOnNaN
from chainrule.training.evaluation import Evaluation, evaluate
from chainrule.training.trainer import Callback, DivergedError, Interrupted, Trainer

__all__ = [
    "BestModel",
    "Callback",
    "Checkpoint",
    "DivergedError",
    "EarlyStopping",
    "Evaluation",
    "History",
    "Interrupted",
    "PlainEpochs",
    "StopOnNaN",
    "Trainer",
    "evaluate",
]
