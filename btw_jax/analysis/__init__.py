"""Analyses of the way a trained model uses its modalities."""
