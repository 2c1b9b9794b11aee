"""What the commands of the command line do, beyond running and tables."""
