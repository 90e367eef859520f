"""Answers of models, read from the files that other programs write."""
