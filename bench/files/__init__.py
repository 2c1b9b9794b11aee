"""Reads and writes files: writes are atomic, and one error covers everything that is wrong with a file."""
