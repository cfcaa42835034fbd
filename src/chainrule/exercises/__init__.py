"""The exercises of the lessons, with hints and answers that are checked.

An exercise is named by its lesson and its position: "6.2", or "the-chain-rule.2". `check` says whether an answer is
right, or what kind of slip it is. Each lesson's exercises are a module in `sets`, whose name is that of the lesson.

Example:
    >>> from chainrule.exercises import check, hint
    >>> check("dead-neurons.1", "-0.5")
    Right.
    >>> hint("dead-neurons.1")
    Left of zero it is α z.
"""

from chainrule.exercises.checking import Verdict as Verdict
from chainrule.exercises.checking import check as check
from chainrule.exercises.checking import hint as hint
from chainrule.exercises.checking import question as question
from chainrule.exercises.checking import solution as solution
