"""Where a job runs: in this process, or by the workers of a dask cluster."""
