"""Extra-P itself reads what `report --extra-p` writes and finds the exponents that were planted, and ours."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from asymptop import __main__ as command_line
from asymptop.fits.law_fit import fit_law
from asymptop.io.reader import open_results
from asymptop.io.series import group_series
from asymptop.report.extra_p import COMMAND
from make_results import Study, write_results

PYTHON = Path(__file__).resolve().parents[2] / "build" / "venv-tools" / "bin" / "python"
PLANTED = {"tail_mass": -0.5, "row_l2_error": -0.75, "row_linf_error": -1.0}
# The options of COMMAND, in Python: the models as text that can be read back.
MODELS = """\
import json, sys
from extrap.fileio.file_reader.text_file_reader import TextFileReader
from extrap.modelers.model_generator import ModelGenerator
from extrap.modelers.single_parameter.basic import SingleParameterModeler

modeler = SingleParameterModeler()
modeler.allow_negative_exponents = True
generator = ModelGenerator(TextFileReader().read_experiment(sys.argv[1]), modeler=modeler, use_median=False)
generator.model_all()
found = {}
for (region, metric), model in generator.models.items():
    terms = [float(term.exponent) for whole in model.hypothesis.function.compound_terms for term in whole.simple_terms]
    found[f"{region.name} {metric.name}"] = terms
print(json.dumps(found))
"""


def planted(name: str, n: int, k: int, generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return 0.9 * n ** PLANTED[name] * np.exp(1e-3 * generator.standard_normal(shape))


@pytest.mark.skipif(not PYTHON.exists(), reason=f"{PYTHON} is missing: jobs/setup/debian.sh --tests makes it")
def test_extra_p_finds_the_exponents(tmp_path: Path, draw_only: Callable[..., None]) -> None:
    draw_only()
    path = write_results(
        tmp_path / "r.h5", Study(n=(256, 512, 1024, 2048, 4096), k=("n^0.5",), draws=4, planted=planted)
    )
    target = tmp_path / "extra_p.txt"
    assert command_line.main(["report", str(path), "-o", str(tmp_path / "r.html"), "--extra-p", str(target)]) == 0
    assert f"# {COMMAND}" in target.read_text()
    outcome = subprocess.run(
        [PYTHON, "-c", MODELS, target], capture_output=True, text=True, timeout=120, check=True, cwd=tmp_path
    )
    found = json.loads(outcome.stdout.splitlines()[-1])
    with open_results(path) as results:
        (series,) = group_series(results.cases)
        for name, exponent in PLANTED.items():
            assert found[f"sigma=1 {name} k=n^0.5"] == [pytest.approx(exponent, abs=1e-9)], name
            assert fit_law(series, name, "n^0.5").exponent == pytest.approx(exponent, abs=0.01)
