"""Pure maths on arrays: no files, no globals, no printing."""
