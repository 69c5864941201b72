"""Asymptop as ReFrame tests: a small study and a benchmark, held against shares of what this machine reaches itself.

    reframe -c jobs/reframe/asymptop_checks.py -r                             # ReFrame 4, its generic system: one rank
    reframe -C mysite.py -c jobs/reframe/asymptop_checks.py -S num_tasks=4 -r # a site's own systems and launchers

`-S executable=/path/to/asymptop` names the program where neither PATH nor a module (`-S modules=asymptop`) has it. A
test passes where the last word of the figures of merit is VALID, which says that the numbers were checked, and where
they stay within the references below: shares of the rate of sgemm that the same run measured, so that they need no
change from one machine to the next. Figures of merit: ../README.md.
"""

from __future__ import annotations

from pathlib import Path

import reframe as rfm
import reframe.utility.sanity as sn
from reframe.core.builtins import run_before, sanity_function, variable

FIGURE = r"^FOM +(?P<name>\S+) +(?P<value>\S+) +(?P<unit>\S+) +(?:higher|lower)$"


class Asymptop(rfm.RunOnlyRegressionTest):
    """What all commands share. Every figure of merit becomes a performance variable of its name."""

    valid_systems = ["*"]
    valid_prog_environs = ["*"]
    executable = "asymptop"
    num_tasks = 1
    # References, in %, by what names of figures end with, and how far below them a rate may be, as a part of them.
    shares = variable(dict, value={})
    tolerance = variable(float, value=0.7)

    @sanity_function
    def last_word(self):
        return sn.assert_found(r"^FOM v1 VALID$", self.stdout, "the figures of merit do not end with VALID")

    @run_before("performance")
    def take_figures(self) -> None:
        output = Path(self.stagedir) / sn.evaluate(self.stdout)
        found = sn.evaluate(sn.extractall(FIGURE, str(output), ("name", "value", "unit"), (str, float, str)))
        references = {}
        for name, value, unit in found:
            # Names of performance variables are identifiers.
            variable_name = "".join(c if c.isalnum() else "_" for c in name)
            self.perf_variables[variable_name] = sn.make_performance_function(sn.defer(value), unit)
            for ending, share in self.shares.items():
                if name.endswith(ending):
                    references[variable_name] = (share, -self.tolerance, None, unit)
        self.reference = {"*": references}


@rfm.simple_test
class Study(Asymptop):
    """Mean errors of top-k attention over Gaussian keys, n = 2^10 to 2^14."""

    descr = "asymptop study: errors of top-k attention"
    executable_opts = ["study", "--n", "2^10,2^12,2^14", "--rows", "16", "--draws", "4", "--force", "-o", "study.h5"]
    keep_files = ["study.h5"]


@rfm.simple_test
class Bench(Asymptop):
    """Kernels against the rate of sgemm at their shapes."""

    descr = "asymptop bench: kernels beside sgemm and memory"
    n = variable(str, value="2^18")
    samples = variable(int, value=5)
    keep_files = ["bench.h5"]
    shares = {"/rate-of-sgemm": 60.0}

    @run_before("run")
    def say_what(self) -> None:
        self.executable_opts = [
            *(
                "bench",
                "--kernel",
                "score,top-k,exact-attention",
                "--n",
                self.n,
                "--d",
                "64",
                "--m",
                "128",
                "--k",
                "256",
            ),
            *("--samples", str(self.samples), "--force", "-o", "bench.h5"),
        ]
