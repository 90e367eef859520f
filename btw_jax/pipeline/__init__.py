"""A run from a configuration to results, and a finished run loaded again."""
