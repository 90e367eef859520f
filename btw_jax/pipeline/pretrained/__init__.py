"""Pretrained models that answer questions, or read the texts of a data set."""
