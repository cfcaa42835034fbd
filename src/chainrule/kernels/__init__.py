"""Compiled loops: what a kernel is, the hand-written kernels, the thread team, BLAS. Arrays, no Tensors."""
