"""Estimators of mutual information, one file per idea, all in nats."""
