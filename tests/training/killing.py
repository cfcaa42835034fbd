"""A callback that ends training between two steps, as if a signal had killed it."""

from chainrule.training import Callback


class Killed(BaseException):
    """Not an Exception, so that nothing handles it."""


class KillAt(Callback):
    """Raise `Killed` after a number of steps."""

    def __init__(self, step):
        self.steps_left = step

    def on_step(self, trainer):
        self.steps_left -= 1
        if not self.steps_left:
            raise Killed
