"""Questions to pretrained multimodal language models."""
