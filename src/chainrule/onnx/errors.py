"""The exceptions of this package."""

from __future__ import annotations

from chainrule.errors import UserError


class OnnxError(UserError):
    """A network cannot be exported, or a file is damaged or not a model; the message is one sentence.

    Not a `ValueError`: the operations reword those.
    """


class UnsupportedError(OnnxError):
    """An operation, an operator or a type that cannot be translated; the message names it."""
