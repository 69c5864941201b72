"""Figures: what each draws, how it looks, and what its caption says."""
