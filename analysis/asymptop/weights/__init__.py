"""Checkpoints of models: their files, configuration, tensors by name, and values fit for use."""
