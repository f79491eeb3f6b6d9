"""Looking into a model: `run` ties the other modules together."""
