"""Normalizing flows of the library normflows as families: densities that are exact, in nats."""
