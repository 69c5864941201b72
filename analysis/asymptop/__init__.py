"""Asymptop's analysis: reads results files, fits scaling laws, judges claims, writes the report."""

__version__ = "0.1.0"
