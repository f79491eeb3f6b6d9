"""Where frames show what the reference shows, and bringing them there."""
