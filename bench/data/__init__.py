"""Data sets: descriptions, loaders, splits, transforms and identities."""
