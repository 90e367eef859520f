"""Training methods against modality interference, as hooks of a trainer."""
