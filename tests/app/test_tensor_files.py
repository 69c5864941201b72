"""Tensor files of other programs: zeros that nobody wrote, axes in other orders, other storage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE

import h5py
import numpy as np
import pytest
from command_line import Outcome, asymptop

N, D = 96, 16
OLD = ("earliest", "v110")  # what the library that the program is linked to reads
RNG = np.random.default_rng(21)
TENSORS = {name: RNG.standard_normal((N, D)).astype(np.float32) for name in "QKV"}
SIZES = ["--n", str(N), "--k", "4", "--block", "64", "--threads", "1", "--force", "-o", "results.h5"]


def write(path: Path, **other: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        for name, values in (TENSORS | other).items():
            if values is not None:
                file[name] = values


def run(command: str, path: Path) -> Outcome:
    rows = ["--rows", "4", "--draws", "2"] if command == "study" else []
    return asymptop(command, "--input", path.name, *SIZES, *rows, cwd=path.parent)


def log_sum_exps(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        (case,) = file["cases"].values()
        return case["row_position"][()], case["log_sum_exp"][()]


def check_right(folder: Path, q: np.ndarray, k: np.ndarray) -> None:
    """Every row's log-sum-exp against float64."""
    positions, found = log_sum_exps(folder / "results.h5")
    logits = q.astype(np.float64) @ k.astype(np.float64).T / np.sqrt(q.shape[1])
    right = np.log(np.exp(logits).sum(axis=1))
    np.testing.assert_allclose(found, right[positions], rtol=1e-5)


def never_written(path: Path) -> str:
    write(path, K=None)
    with h5py.File(path, "a") as file:
        file.create_dataset("K", (N, D), "f4")
    return "has a dataset K that was never written"


def chunks_never_written(path: Path) -> str:
    write(path, V=None)
    with h5py.File(path, "a") as file:
        dataset = file.create_dataset("V", (N, D), "f4", chunks=(32, D), compression="gzip")
        dataset[:32] = TENSORS["V"][:32]
    return "has a dataset V of which 2 of 3 chunks were never written"


def source_gone(path: Path) -> str:
    write(path, Q=None)
    layout = h5py.VirtualLayout((N, D), "f4")
    layout[:] = h5py.VirtualSource("moved.h5", "Q", (N, D))
    with h5py.File(path, "a", libver=OLD) as file:
        file.create_virtual_dataset("Q", layout)
    return "has a dataset Q that is virtual, and its source moved.h5 is not there"


def source_dataset_gone(path: Path) -> str:
    wanted = source_gone(path)
    with h5py.File(path.with_name("moved.h5"), "w") as file:
        file["P"] = TENSORS["Q"]
    assert wanted
    return "has a dataset Q that is virtual, from Q of "


def source_never_written(path: Path) -> str:
    source_gone(path)
    with h5py.File(path.with_name("moved.h5"), "w") as file:
        file.create_dataset("Q", (N, D), "f4")
    return "that was never written"


def source_shorter(path: Path) -> str:
    write(path, Q=None)
    layout = h5py.VirtualLayout((N, D), "f4")
    layout[: N // 2] = h5py.VirtualSource("half.h5", "Q", (N, D))[: N // 2]
    with h5py.File(path, "a", libver=OLD) as file:
        file.create_virtual_dataset("Q", layout)
    with h5py.File(path.with_name("half.h5"), "w") as file:
        file["Q"] = TENSORS["Q"]
    return f"has a dataset Q that is virtual, with sources for {N * D // 2} of its {N * D} values"


def source_smaller_than_it_was(path: Path) -> str:
    write(path, Q=None)
    layout = h5py.VirtualLayout((N, D), "f4")
    layout[: N // 2] = h5py.VirtualSource("a.h5", "Q", (N, D))[N // 2 :]
    layout[N // 2 :] = h5py.VirtualSource("a.h5", "Q", (N, D))[: N // 2]
    with h5py.File(path, "a", libver=OLD) as file:
        file.create_virtual_dataset("Q", layout)
    with h5py.File(path.with_name("a.h5"), "w") as file:
        file["Q"] = TENSORS["Q"][: N // 2]
    return "which is smaller than what is taken of it"


def zeros(path: Path) -> str:
    write(path, K=np.zeros((N, D), np.float32))
    return f"has a K of nothing but zeros in the first {N} rows of head 0"


def zeros_of_a_head(path: Path) -> str:
    values = RNG.standard_normal((2, N, D)).astype(np.float32)
    empty = values.copy()
    empty[1] = 0
    write(path, Q=values, K=values, V=empty)
    return f"has a V of nothing but zeros in the first {N} rows of head 1; --heads leaves a head out"


def external_file_gone(path: Path) -> str:
    write(path, K=None)
    with h5py.File(path, "a") as file:
        file.create_dataset("K", (N, D), "f4", external=[("raw.bin", 0, 4 * N * D)])
    return "whose values are in the external file raw.bin, which cannot be read"


def external_file_short(path: Path) -> str:
    wanted = external_file_gone(path)
    path.with_name("raw.bin").write_bytes(TENSORS["K"].tobytes()[:-4])
    assert wanted
    return "whose values are in the external file raw.bin, which is too short"


def unknown_filter(path: Path) -> str:
    """A chunk that says it went through a filter that nobody has; its bytes are as they were."""
    write(path, K=None)
    with h5py.File(path, "a") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((N, D))
        properties.set_filter(32123, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple((N, D))
        dataset = h5py.h5d.create(file.id, b"K", h5py.h5t.IEEE_F32LE, space, properties)
        dataset.write_direct_chunk((0, 0), TENSORS["K"].tobytes(), 0)
    return "has a dataset K that needs the HDF5 filter 32123"


def tokens_first(path: Path) -> str:
    values = RNG.standard_normal((N, 4, D)).astype(np.float32)
    write(path, Q=values, K=values, V=values)
    return f"of shape ({N}, 4, {D}), which as (heads, n, d) would be more heads than rows"


def slope_as_an_attribute(path: Path) -> str:
    write(path)
    with h5py.File(path, "a") as file:
        file.attrs["alibi"] = 0.5
    return "has a root attribute alibi, which is a dataset of a layer: a number for each head of Q"


def softcap_of_no_layer(path: Path) -> str:
    write(path)
    with h5py.File(path, "a") as file:
        file.attrs["softcap"] = 30.0
    return "has a root attribute softcap, which layers alone have"


def sinks_of_no_layer(path: Path) -> str:
    write(path, sinks=np.zeros(1))
    return "has a dataset sinks beside Q, K and V: layers alone have it"


WRONG = [never_written, chunks_never_written, source_gone, source_dataset_gone, source_never_written, source_shorter]
WRONG += [source_smaller_than_it_was, zeros, zeros_of_a_head, external_file_gone, external_file_short, unknown_filter]
WRONG += [tokens_first, slope_as_an_attribute, softcap_of_no_layer, sinks_of_no_layer]


@pytest.mark.parametrize("command", ["study", "attend"])
@pytest.mark.parametrize("make", WRONG, ids=lambda make: make.__name__)
def test_refused(make: Callable[[Path], str], command: str, tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    wanted = make(path)
    before = sorted(tmp_path.iterdir())
    outcome = run(command, path)
    assert outcome.code == 2, str(outcome)
    (line,) = outcome.stderr.splitlines()
    assert line.startswith("asymptop: --input: 't.h5' ")
    assert wanted in line
    assert sorted(tmp_path.iterdir()) == before


def test_newer_format_is_refused_in_the_words_of_hdf5(tmp_path: Path) -> None:
    """The version of the superblock is a byte of the file: one that no library knows yet."""
    path = tmp_path / "t.h5"
    write(path)
    content = bytearray(path.read_bytes())
    content[8] = 77
    path.write_bytes(content)
    outcome = run("study", path)
    assert outcome.code == 2
    (line,) = outcome.stderr.splitlines()
    assert "does not open" in line
    assert "superblock" in line


def test_virtual_datasets_with_their_sources(tmp_path: Path) -> None:
    """Sources in a folder, and virtual themselves."""
    (tmp_path / "parts").mkdir()
    for part in range(2):
        with h5py.File(tmp_path / "parts" / f"{part}.h5", "w") as file:
            for name, values in TENSORS.items():
                half = values[part * N // 2 : (part + 1) * N // 2]
                file.create_dataset(name, data=half, chunks=(16, D), compression="gzip")
    for target, prefix in (("parts/all.h5", ""), ("t.h5", "parts/")):
        with h5py.File(tmp_path / target, "w", libver=OLD) as file:
            for name in TENSORS:
                layout = h5py.VirtualLayout((N, D), "f4")
                if prefix:
                    layout[:] = h5py.VirtualSource("parts/all.h5", name, (N, D))
                else:
                    for part in range(2):
                        source = h5py.VirtualSource(f"{part}.h5", name, (N // 2, D))
                        layout[part * N // 2 : (part + 1) * N // 2] = source
                file.create_virtual_dataset(name, layout)
    outcome = run("study", tmp_path / "t.h5")
    assert outcome.code == 0, str(outcome)
    check_right(tmp_path, TENSORS["Q"], TENSORS["K"])


def test_external_files(tmp_path: Path) -> None:
    write(tmp_path / "t.h5", K=None)
    (tmp_path / "raw.bin").write_bytes(b"1234" + TENSORS["K"].tobytes())
    with h5py.File(tmp_path / "t.h5", "a") as file:
        file.create_dataset("K", (N, D), "f4", external=[("raw.bin", 4, 4 * N * D)])
    outcome = run("study", tmp_path / "t.h5")
    assert outcome.code == 0, str(outcome)
    check_right(tmp_path, TENSORS["Q"], TENSORS["K"])


@pytest.mark.parametrize("command", ["study", "attend"])
@pytest.mark.parametrize("heads", [0, 3])
def test_files_of_matlab_are_turned(command: str, heads: int, tmp_path: Path) -> None:
    """Q(n, d, heads) is (heads, d, n) in the file, where every dataset names its class. A user block first."""
    shape = (heads, N, D) if heads else (N, D)
    tensors = {name: RNG.standard_normal(shape).astype(np.float32) for name in "QKV"}
    with h5py.File(tmp_path / "t.h5", "w", userblock_size=512) as file:
        for name, values in tensors.items():
            reverse = np.transpose(values)  # (d, n) or (d, n, heads)
            dataset = file.create_dataset(name, data=reverse, chunks=True, compression="gzip")
            dataset.attrs["MATLAB_class"] = np.bytes_("single")
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        for name, values in tensors.items():
            file[name] = values
    more = ["--heads", "2"] if heads else []
    results = []
    for name in ("t.h5", "plain.h5"):
        rows = ["--rows", "4", "--draws", "2"] if command == "study" else []
        outcome = asymptop(command, "--input", name, *SIZES, *rows, *more, cwd=tmp_path)
        assert outcome.code == 0, str(outcome)
        turned = ", turned from MATLAB's order of axes" if name == "t.h5" else ""
        line = f"Input: {name}, {max(heads, 1)} head(s) of Q on {max(heads, 1)} of K and V, n = {N}, d = {D}{turned}"
        assert line in outcome.stdout
        with h5py.File(tmp_path / "results.h5") as file:
            (case,) = file["cases"].values()
            results.append({key: case[key][()] for key in case if "seconds" not in key})
    assert results[0].keys() == results[1].keys()
    for key, values in results[0].items():
        np.testing.assert_array_equal(values, results[1][key], err_msg=key)


def test_a_name_in_other_letters(tmp_path: Path) -> None:
    """A file's name is bytes, maybe no UTF-8; records and results are texts."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/m\xfcller.h5"))
    write(tmp_path / "t.h5")
    (tmp_path / "t.h5").rename(path)
    for command, rows in (("study", ["--rows", "4", "--draws", "2"]), ("attend", [])):
        for more in (["--json", "r.json"], ["--json", "r.json", "--dry-run"] if command == "study" else []):
            outcome = asymptop(command, "--input", path, *SIZES, *rows, *more, cwd=tmp_path)
            assert outcome.code == 0, str(outcome)
            assert json.loads((tmp_path / "r.json").read_text())
    assert asymptop("info", "--verify", "results.h5", cwd=tmp_path).code == 0


WRITER = """
import sys, h5py, numpy as np
with h5py.File(sys.argv[1], "w") as file:
    for name in "QKV":
        file.create_dataset(name, (96, 16), "f4", chunks=(32, 16))[:32] = np.ones((32, 16))
    file.flush()
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("command", ["study", "attend"])
def test_a_file_that_is_still_being_written(command: str, tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    with subprocess.Popen([sys.executable, "-c", WRITER, path], stdin=PIPE, stdout=PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        outcome = run(command, path)
        writer.communicate("")
    assert outcome.code == 2, str(outcome)
    (line,) = outcome.stderr.splitlines()
    assert "does not open. HDF5: cannot open" in line
