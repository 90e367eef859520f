"""Pretrained models, read from local folders in Hugging Face's layout."""
