"""The training loop, its schedule, streams, guard and checkpoints."""
