"""From codes of files to linear light: responses, exposures, white."""
