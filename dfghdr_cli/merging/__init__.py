"""From frames as gamma codes to radiance: hypotheses, the network's decision, and the merge."""
