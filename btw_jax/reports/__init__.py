"""Plots, tables and pages from the files that runs leave; no JAX."""
