"""Audits: what the predictions of any model tell about its modalities."""
