"""The report of a job: one self-contained page, made from its records."""
