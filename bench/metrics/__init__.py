"""Metrics: pure functions on arrays, in float64, that know no model, no store and no suite.

Conventions that hold everywhere: results are Python floats or small frozen dataclasses; fractions lie in [0,
1], never in percent; logits, log-probabilities and probabilities are told apart by the name of the argument,
never guessed from the values; a NaN in the input is an error that says how many there are.
"""
