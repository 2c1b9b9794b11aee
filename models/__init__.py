"""The model families that bench compares, installed as ``bench_models``: softmax, MMC, IGEBM, JEM and successors, GMMC.

``specs`` and the modules whose names end so describe them without torch; the harness imports the implementations only
in workers. They are registered through the entry-point groups ``bench.families`` and ``bench.backbones``, like those of
other packages.
"""
