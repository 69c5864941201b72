"""Tensors of any origin: which file holds them, in which format, and the file that `asymptop study` reads."""
