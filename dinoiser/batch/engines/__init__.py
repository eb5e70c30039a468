"""Engines that run a job: this process, or the workers of a dask cluster."""
