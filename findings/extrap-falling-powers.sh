#!/usr/bin/env bash
# Extra-P 4.2.5 (PyPI): its default modeler has no negative exponents among its terms, and says nothing where they are needed. Of values
# that are exactly n^-0.5 at n = 2^10 to 2^17 it makes a - b log2(n), which is below zero at n = 2^20; of n^-1 likewise. Rising powers,
# n^0.5, are found to 13 digits. With `--modeler basic --options allow_negative_exponents=1` all three are.
#
# Who exports an error, a share or a time per rank under strong scaling, all of which fall, gets a model with a small residual that
# says they fall like a logarithm. Asymptop's `report --extra-p` writes the options that are needed into the file.
#
# Prints the models and fails unless the default ones of falling values turn negative and the others are right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
# Without its graphical parts.
venv/bin/python -m pip install -q --disable-pip-version-check --no-deps 'extrap==4.2.5'
venv/bin/python -m pip install -q --disable-pip-version-check 'numpy<3' 'matplotlib<4' 'tqdm<5' 'pycubexr==2.1.1' 'marshmallow<4' 'packaging' 'scikit-learn<2'
cat >models.py <<'PY'
import sys

from extrap.fileio.file_reader.text_file_reader import TextFileReader
from extrap.modelers.model_generator import ModelGenerator
from extrap.modelers.single_parameter.basic import SingleParameterModeler

sizes = [2**power for power in range(10, 18)]
powers = (-0.5, -1.0, 0.5)
with open("values.txt", "w") as file:
    file.write(f"PARAMETER n\nPOINTS {' '.join(map(str, sizes))}\nREGION all\n")
    for power in powers:
        file.write(f"METRIC n^{power}\n" + "".join(f"DATA {float(n) ** power!r}\n" for n in sizes))
experiment = TextFileReader().read_experiment("values.txt")
as_described = True
for allowed in (None, True):
    if allowed is None:
        generator = ModelGenerator(experiment, use_median=False)
    else:
        modeler = SingleParameterModeler()
        modeler.allow_negative_exponents = True
        generator = ModelGenerator(experiment, modeler=modeler, use_median=False)
    generator.model_all()
    for (_, metric), model in generator.models.items():
        function = model.hypothesis.function
        power, value = float(metric.name.removeprefix("n^")), float(function.evaluate(2.0**20))
        right = abs(value / 2.0 ** (20 * power) - 1.0) < 1e-6
        print(f"{'negative exponents' if allowed else 'default'}, {metric.name}: {function.to_string()}; at n = 2^20: {value:.4g}")
        as_described &= value < 0.0 if allowed is None and power < 0.0 else right
sys.exit(0 if as_described else "not as described")
PY
venv/bin/python models.py 2>/dev/null
