"""Plug-ins: the contracts of their descriptions and results, and the source code that identifies them in keys."""
