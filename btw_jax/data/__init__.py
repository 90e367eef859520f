"""Data sets: read, checked, split, scaled and stacked, in NumPy."""
