"""Suites, profiles and settings: schemas, and errors that name file, line and key."""
