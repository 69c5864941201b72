"""Studies as Slurm jobs: what jobs/submit, jobs/status and jobs/finish do. Python's standard library alone."""
