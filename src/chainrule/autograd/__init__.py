"""Automatic differentiation: the tape that records operations and walks them backwards, and checks of what it finds."""

from chainrule.autograd.check import gradcheck, gradgradcheck
from chainrule.autograd.tape import enable_grad, grad, is_grad_enabled, no_grad, set_grad_enabled

__all__ = ["enable_grad", "grad", "gradcheck", "gradgradcheck", "is_grad_enabled", "no_grad", "set_grad_enabled"]
