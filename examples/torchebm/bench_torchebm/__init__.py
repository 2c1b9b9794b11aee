"""An energy-based model of the library torchebm as a family."""
