"""Metrics of predictions, in NumPy."""
