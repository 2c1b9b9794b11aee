"""Plug-ins by name: the registry, the contracts of their descriptions, and the source that stands for their version."""
