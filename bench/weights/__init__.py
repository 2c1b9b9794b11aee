"""Finds, reads, converts and loads weights, our own and foreign ones."""
