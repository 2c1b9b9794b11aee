"""Metrics: pure functions on arrays, in float64, that know no model, no store and no suite.

Conventions: results are Python floats or small frozen dataclasses. Fractions lie in [0, 1], never in percent. The
name of an argument says whether it takes logits, log-probabilities or probabilities; values are never guessed from.
NaN in the input is an error that gives their number.
"""
