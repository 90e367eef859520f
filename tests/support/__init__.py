"""Helpers of the tests: oracles, small problems and files, programs."""
