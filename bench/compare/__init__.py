"""Differences between models of a suite, and between two runs of it."""
