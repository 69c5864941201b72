"""Runs a model over texts and stores what the logits of its attention layers consist of."""
