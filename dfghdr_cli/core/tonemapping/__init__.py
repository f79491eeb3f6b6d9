"""Pictures for displays."""
