"""Training: the loop, callbacks, checkpoints, and run folders with config, history, weights and result."""

from chainrule.training.callbacks import BestModel, Checkpoint, EarlyStopping, History, StopAugmentation, StopOnNaN
from chainrule.training.csv_log import CSV
from chainrule.training.evaluation import Evaluation, evaluate
from chainrule.training.tensorboard import TensorBoard
from chainrule.training.trainer import Callback, DivergedError, Interrupted, Trainer

PlainEpochs = StopAugmentation  # its former name

__all__ = [
    "CSV",
    "BestModel",
    "Callback",
    "Checkpoint",
    "DivergedError",
    "EarlyStopping",
    "Evaluation",
    "History",
    "Interrupted",
    "PlainEpochs",
    "StopAugmentation",
    "StopOnNaN",
    "TensorBoard",
    "Trainer",
    "evaluate",
]
