"""Compiled inner loops for what NumPy would need many passes for; arrays in, arrays out, no Tensors."""
