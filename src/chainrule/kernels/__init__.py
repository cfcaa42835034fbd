"""Compiled inner loops: what a kernel is, hand-written kernels, threads, BLAS. Arrays in, arrays out; no Tensors."""
