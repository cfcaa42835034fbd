"""Print the reports on PyTorch's own samples: `python -m tests.conformance [PART OF A NAME]`; 1 if there are faults."""

import sys

import torch

from . import moduleinfo, opinfo, optiminfo

torch.set_num_threads(1)
chosen = sys.argv[1] if len(sys.argv) > 1 else ""
sys.exit(1 if sum([part.report(chosen) for part in (opinfo, moduleinfo, optiminfo)]) else 0)
