"""Searches for good settings: trains many runs, each with different settings, and stops those that fall behind.

    chainrule sweep sweep.toml --jobs 2     # needs Optuna: pip install 'chainrule[sweep]'

| file | owns |
| --- | --- |
| `config` | the config file: which settings are fixed, and which ones are searched, in which range |
| `search` | Optuna's study in an SQLite file: proposes settings, decides which trials are pruned |
| `trials` | the loop: starts worker processes, gives each one a trial, and tells the study what comes back |
| `worker` | a worker process: trains one trial after another, each in an ordinary run folder |

Only one process uses the study; the workers only train. So the proposals of a sweep with one worker depend on the seed
alone, and a sweep that was killed continues from the checkpoints of its trials.
"""

from chainrule.sweep.config import Choices, Range, SweepConfig, read_config
from chainrule.sweep.search import Search, Trial
from chainrule.sweep.trials import Sweep

__all__ = ["Choices", "Range", "Search", "Sweep", "SweepConfig", "Trial", "read_config"]
