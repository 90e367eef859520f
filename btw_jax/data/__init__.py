"""Reads, checks, splits, scales and stacks data sets, in NumPy."""
