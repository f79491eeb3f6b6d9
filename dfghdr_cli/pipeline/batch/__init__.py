"""Many brackets in one go: what is to be merged, by which processes, and what has become of it."""
