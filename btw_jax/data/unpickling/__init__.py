"""An interpreter of pickles that calls nothing that a file names."""
