"""A softmax classifier trained with label smoothing."""
