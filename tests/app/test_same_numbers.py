"""The comparison of two builds finds a changed last bit, and matches cases by what they depend on, not by name."""

import importlib.util
import pathlib

import h5py
import numpy as np

PATH = pathlib.Path(__file__).resolve().parents[1] / "support" / "same_numbers.py"
SPEC = importlib.util.spec_from_file_location("same_numbers", PATH)
assert SPEC is not None
assert SPEC.loader is not None
same_numbers = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(same_numbers)


def results(path: pathlib.Path, case: str, values: np.ndarray) -> pathlib.Path:
    with h5py.File(path, "w") as file:
        group = file.create_group(f"cases/{case}")
        group.attrs["n"], group.attrs["sigma_law"] = 1024, "2"
        group["tail_mass"] = values
        group["phase_seconds"] = np.random.default_rng().random(3)
        group["k_law"] = np.array(["64", "n^0.5"], dtype=h5py.string_dtype())
    return path


def test_names_of_cases_do_not_matter(tmp_path: pathlib.Path) -> None:
    values = np.linspace(0.1, 0.9, 5)
    old = same_numbers.datasets(results(tmp_path / "a.h5", "n1024-law1", values))
    new = same_numbers.datasets(results(tmp_path / "b.h5", "n1024-sigma2", values))
    assert old.keys() == new.keys()
    assert {key[-1] for key in old} == {"tail_mass", "k_law"}, "timings are left out"
    assert all(same_numbers.same(old[key], new[key]) for key in old)


def test_a_last_bit_is_found(tmp_path: pathlib.Path) -> None:
    values = np.linspace(0.1, 0.9, 5)
    other = values.copy()
    other[3] = np.nextafter(other[3], 1.0)
    old = same_numbers.datasets(results(tmp_path / "a.h5", "case", values))
    new = same_numbers.datasets(results(tmp_path / "b.h5", "case", other))
    assert [key[-1] for key in old if not same_numbers.same(old[key], new[key])] == ["tail_mass"]
    assert not same_numbers.same(values, values.astype(np.float32))
