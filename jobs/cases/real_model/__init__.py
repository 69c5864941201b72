"""Captures Q, K and V of one layer of a real encoder over a long text; jobs/cases/real-model.sh runs it."""
