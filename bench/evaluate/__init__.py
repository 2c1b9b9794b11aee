"""Evaluations: protocols that turn a trained model and data into numbers."""
