"""The work of the commands, except for running jobs and printing tables."""
