"""Runs of the small multimodal language model: training, and what it shows."""
