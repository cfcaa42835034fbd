"""The reports on PyTorch's own samples: `python -m tests.conformance`, or with a part of an entry's name."""

import sys

import torch

from . import moduleinfo, opinfo, optiminfo

torch.set_num_threads(1)
chosen = sys.argv[1] if len(sys.argv) > 1 else ""
sys.exit(1 if sum([part.report(chosen) for part in (opinfo, moduleinfo, optiminfo)]) else 0)
