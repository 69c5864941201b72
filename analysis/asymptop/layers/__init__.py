"""Attention layers, head by head: from weights or captured tensors to norms and sigma."""
