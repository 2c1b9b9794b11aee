"""A small diffusion model of the library diffusers, whose samples bench measures."""
