"""The compiled loops. These modules import Numba, so `kernels.compile` imports them when a kernel is first called."""
