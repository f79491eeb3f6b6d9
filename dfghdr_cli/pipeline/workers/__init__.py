"""Doing many tasks at the same time: by processes on this computer, or on a Dask cluster."""
