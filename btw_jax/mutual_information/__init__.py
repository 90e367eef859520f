"""Estimators of mutual information, one file per method, all in nats."""
