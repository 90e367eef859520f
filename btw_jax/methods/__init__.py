"""Ways to train against modality interference, as hooks of a trainer."""
