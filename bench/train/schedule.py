"""Learning rate as a function of the iteration."""

from __future__ import annotations

from bench.spec import TrainingConfig

__all__ = ["learning_rate"]


def learning_rate(config: TrainingConfig, iteration: int, per_epoch: int) -> float:
    """The learning rate of an iteration (from 0), as in the JEM and GMMC code.

    While ``iteration <= warmup`` it is ``lr * iteration / warmup``: iteration 0 changes nothing, and decays during the
    warm-up are lost. Afterwards it is ``lr`` times ``decay_rate`` for each listed epoch that has begun since the
    warm-up.

    Args:
        config: The values of lr, warmup, decay_epochs and decay_rate.
        iteration: Number of the iteration, from 0.
        per_epoch: Iterations per epoch.
    """
    if config.warmup and iteration <= config.warmup:
        return config.lr * iteration / config.warmup
    starts = {epoch * per_epoch for epoch in config.decay_epochs}  # an epoch listed twice decays once
    begun = sum(start <= iteration and (start > config.warmup or not config.warmup) for start in starts)
    return config.lr * config.decay_rate**begun
