"""Optimizers and learning-rate schedulers. Names, options and results match PyTorch."""

from chainrule.optim import lr_scheduler
from chainrule.optim.adaptive import Adagrad, Adam, AdamW, RMSprop
from chainrule.optim.optimizer import Optimizer
from chainrule.optim.sgd import SGD

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "lr_scheduler"]
