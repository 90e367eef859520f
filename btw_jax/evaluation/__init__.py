"""Metrics of finished predictions, in NumPy."""
