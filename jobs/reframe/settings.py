"""Systems for ReFrame 4: this machine's cores under mpirun, a cluster's Slurm under srun. A site's own file serves too.

reframe -C jobs/reframe/settings.py --system=asymptop:cores -c jobs/reframe/asymptop_checks.py -S num_tasks=2 -r
"""

site_configuration = {
    "systems": [
        {
            "name": "asymptop",
            "descr": "where asymptop is on PATH",
            "hostnames": [".*"],
            "partitions": [
                {"name": "cores", "scheduler": "local", "launcher": "mpirun", "environs": ["builtin"]},
                # squeue rather than slurm: also where Slurm keeps no accounts.
                {"name": "slurm", "scheduler": "squeue", "launcher": "srun", "environs": ["builtin"]},
            ],
        }
    ],
}
