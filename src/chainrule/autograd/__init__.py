"""Automatic differentiation: the tape, functional derivatives, and gradient checks."""

from chainrule.autograd import functional
from chainrule.autograd.check import gradcheck, gradgradcheck
from chainrule.autograd.functional import hessian, hvp, jacobian, jvp, vjp
from chainrule.autograd.tape import grad

from chainrule.autograd.mode import (  # isort: skip
    detect_anomaly, enable_grad, is_grad_enabled, no_grad, set_detect_anomaly, set_grad_enabled,
)  # fmt: skip

__all__ = [
    "detect_anomaly", "enable_grad", "functional", "grad", "gradcheck", "gradgradcheck", "hessian", "hvp",
    "is_grad_enabled", "jacobian", "jvp", "no_grad", "set_detect_anomaly", "set_grad_enabled", "vjp",
]  # fmt: skip
