"""From a suite to jobs, each with a key, inputs and a cost."""
