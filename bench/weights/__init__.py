"""Trained weights and those of strangers: found, read, converted, loaded."""
