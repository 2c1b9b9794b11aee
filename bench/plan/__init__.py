"""Plans: the jobs of a suite, each with a key, inputs and a cost."""
