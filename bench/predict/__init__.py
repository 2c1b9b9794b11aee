"""One pass over weights and data, shared by all evaluations."""
