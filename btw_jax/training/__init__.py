"""One training step, one evaluation, and the runs made of them."""
