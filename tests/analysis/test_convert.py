"""convert: every format and type gives the exact values; bad input gets one line, exit 2 and no file."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest
from asymptop.__main__ import main
from asymptop.commands import convert
from asymptop.tensors import study_input
from failing_storage import failing_library, settings
from safetensors.numpy import save_file

KINDS = {"float64": np.float64, "float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
FORMATS = ("npy", "npz", "npz-compressed", "safetensors")


def tensors(shape: tuple[int, ...], kind: str = "float32", seed: int = 1) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {role: random.standard_normal(shape).astype(KINDS[kind]) for role in "QKV"}


def save(folder: Path, arrays: dict[str, np.ndarray], file_format: str) -> list[str]:
    if file_format == "npy":
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)
        return [str(folder / f"{name}.npy") for name in arrays]
    if file_format == "safetensors":
        save_file(arrays, folder / "all.safetensors")
        return [str(folder / "all.safetensors")]
    (np.savez_compressed if file_format == "npz-compressed" else np.savez)(folder / "all.npz", **arrays)
    return [str(folder / "all.npz")]


def call(*words: object) -> int:
    return main(["convert", *map(str, words)])


def converted(folder: Path, *words: object) -> dict[str, np.ndarray]:
    assert call(*words, "-o", folder / "out.h5") == 0
    with h5py.File(folder / "out.h5") as file:
        return {role: file[role][()] for role in "QKV"}


def assert_refused(folder: Path, capsys: pytest.CaptureFixture[str], *words: object) -> str:
    before = sorted(folder.iterdir())
    try:
        code = call(*words, "-o", folder / "out.h5")
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert sorted(folder.iterdir()) == before
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize("shape", [(70, 5), (3, 70, 5), (1, 3, 70, 5)])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("file_format", FORMATS)
def test_values_are_kept_exactly(tmp_path: Path, file_format: str, kind: str, shape: tuple[int, ...]) -> None:
    given = tensors(shape, kind)
    found = converted(tmp_path, *save(tmp_path, given, file_format))
    for role, array in given.items():
        assert found[role].dtype == (np.float64 if kind == "float64" else np.float32)
        np.testing.assert_array_equal(found[role], array.astype(np.float64).reshape(shape[-3:]))


def test_every_finite_half_is_widened_exactly(tmp_path: Path) -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    for kind in ("float16", "bfloat16"):
        values = bits.view(KINDS[kind])
        values = values[np.isfinite(values.astype(np.float32))].reshape(-1, 2)
        folder = tmp_path / kind
        folder.mkdir()
        found = converted(folder, *save(folder, dict.fromkeys("QKV", values), "safetensors"))
        np.testing.assert_array_equal(found["Q"], values.astype(np.float32))
        np.testing.assert_array_equal(np.signbit(found["Q"]), np.signbit(values.astype(np.float32)))


@pytest.mark.parametrize("file_format", ["npy", "npz", "npz-compressed"])
def test_fortran_order_and_big_endian(tmp_path: Path, file_format: str) -> None:
    given = {role: np.asfortranarray(array.astype(">f4")) for role, array in tensors((3, 70, 5)).items()}
    found = converted(tmp_path, *save(tmp_path, given, file_format))
    np.testing.assert_array_equal(found["K"], given["K"])


def test_many_slabs_and_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "SLAB_BYTES", 1000)
    monkeypatch.setattr(study_input, "CHUNK_BYTES", 512)
    given = tensors((4, 301, 5))
    inputs = save(tmp_path, given, "npz")
    np.testing.assert_array_equal(converted(tmp_path, *inputs)["V"], given["V"])
    swapped = {role: np.ascontiguousarray(array.swapaxes(0, 1)) for role, array in given.items()}
    found = converted(tmp_path, *save(tmp_path, swapped, "npz"), "--layout", "tokens-first", "--force")
    np.testing.assert_array_equal(found["V"], given["V"])


def test_layouts_give_the_same_file(tmp_path: Path) -> None:
    given = tensors((4, 60, 5))
    variants = {
        "tokens-first": ({r: a.swapaxes(0, 1) for r, a in given.items()}, ["--layout", "tokens-first"]),
        "batch": ({r: np.stack([a + 1, a]) for r, a in given.items()}, ["--batch", "1"]),
        "fused": ({r: a.swapaxes(0, 1).reshape(60, 20) for r, a in given.items()}, ["--head-dim", "5"]),
        "batch-fused": ({r: a.swapaxes(0, 1).reshape(1, 60, 20) for r, a in given.items()}, ["--head-dim", "5"]),
    }
    for name, (arrays, options) in variants.items():
        folder = tmp_path / name
        folder.mkdir()
        arrays = {role: np.ascontiguousarray(array) for role, array in arrays.items()}
        found = converted(folder, *save(folder, arrays, "safetensors"), *options)
        for role in "QKV":
            np.testing.assert_array_equal(found[role], given[role], err_msg=name)


def test_heads_are_chosen_and_shared_keys_follow(tmp_path: Path) -> None:
    given = tensors((6, 40, 5))
    given |= {role: given[role][:2] for role in "KV"}
    inputs = save(tmp_path, given, "npz")
    plain = converted(tmp_path, *inputs)
    assert (plain["Q"].shape, plain["K"].shape) == ((6, 40, 5), (2, 40, 5))
    repeated = converted(tmp_path, *inputs, "--repeat-kv", "--force")
    np.testing.assert_array_equal(repeated["K"], np.repeat(given["K"], 3, axis=0))
    chosen = converted(tmp_path, *inputs, "--head", "5,1-2", "--force")
    np.testing.assert_array_equal(chosen["Q"], given["Q"][[5, 1, 2]])
    np.testing.assert_array_equal(chosen["V"], given["V"][[1, 0, 0]])


def test_names_and_files_are_chosen(tmp_path: Path) -> None:
    given = tensors((40, 5))
    save_file({"l0.query": given["K"], "l1.query": given["Q"], "l1.k": given["K"]}, tmp_path / "a.safetensors")
    np.savez(tmp_path / "b.npz", values=given["V"], other=given["Q"])
    np.save(tmp_path / "c.npy", given["V"])
    a, b, c = tmp_path / "a.safetensors", tmp_path / "b.npz", tmp_path / "c.npy"
    calls = (
        (a, b, "--q", "l1.query", "--k", "l1.k"),
        ("--q", f"{a}:l1.query", "--k", f"{a}:l1.k", "--v", f"{b}:values"),
        (a, "--q", "l1.query", "--k", "l1.k", "--v", c),
    )
    for words in calls:
        found = converted(tmp_path, *words, "--force")
        for role in "QKV":
            np.testing.assert_array_equal(found[role], given[role])


def test_three_files_go_by_name_else_by_order(tmp_path: Path) -> None:
    given = tensors((40, 5))
    for role, name in zip("QKV", ("first", "second", "third"), strict=True):
        np.save(tmp_path / f"{name}.npy", given[role])
        np.save(tmp_path / f"{role.lower()}.npy", given[role])
    by_order = converted(tmp_path, *(tmp_path / f"{name}.npy" for name in ("first", "second", "third")))
    by_name = converted(tmp_path, *(tmp_path / f"{name}.npy" for name in "vqk"), "--force")
    for role in "QKV":
        np.testing.assert_array_equal(by_order[role], given[role])
        np.testing.assert_array_equal(by_name[role], given[role])


def test_file_layout_and_attributes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = save(tmp_path, tensors((2, 9000, 16), "float16"), "npz")
    assert call(*inputs, "-o", tmp_path / "out.h5", "--scale", "0.125") == 0
    assert "float16 -> float32" in capsys.readouterr().out
    with h5py.File(tmp_path / "out.h5") as file:
        assert set(file) == {"Q", "K", "V"}
        assert file.attrs["scale"] == 0.125
        assert file["Q"].chunks == (1, 9000, 16)
        assert file["Q"].attrs["source_type"] == "float16"
    assert study_input.chunk_rows(1 << 20, 64, 4) == 4096
    assert study_input.chunk_rows(10, 64, 4) == 10
    assert study_input.chunk_rows(10, 1 << 20, 8) == 1


def test_output_is_replaced_only_by_force(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = save(tmp_path, tensors((40, 5)), "npz")
    (tmp_path / "out.h5").write_text("precious")
    assert "--force" in assert_refused(tmp_path, capsys, *inputs)
    assert (tmp_path / "out.h5").read_text() == "precious"
    assert call(*inputs, "-o", tmp_path / "out.h5", "--force") == 0


def test_failure_under_force_keeps_the_old_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = tensors((40, 5))
    given["V"][39, 4] = np.inf
    (tmp_path / "out.h5").write_text("precious")
    assert_refused(tmp_path, capsys, *save(tmp_path, given, "npz"), "--force")
    assert (tmp_path / "out.h5").read_text() == "precious"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, value: float
) -> None:
    given = tensors((3, 70, 5), kind)
    given["K"][1, 17, 3] = given["K"][2, 1, 0] = value
    message = assert_refused(tmp_path, capsys, *save(tmp_path, given, "safetensors"))
    assert "K (" in message
    assert f"has {value} at head 1, row 17, column 3" in message


BAD_SHAPES = {
    "n differs": ({"V": (3, 71, 5)}, [], "n = 71"),
    "d differs": ({"K": (3, 70, 6)}, [], "d = 6"),
    "heads not a multiple": ({"K": (2, 70, 5), "V": (2, 70, 5)}, [], "heads are Q 3, K 2, V 2"),
    "K and V heads differ": ({"V": (1, 70, 5)}, [], "heads are"),
    "one axis": ({"Q": (70,)}, [], "1 axes"),
    "five axes": ({"Q": (1, 1, 3, 70, 5)}, [], "5 axes"),
    "empty": ({"Q": (3, 0, 5)}, [], "is empty"),
    "batch not chosen": ({role: (2, 3, 70, 5) for role in "QKV"}, [], "2 batch entries"),
    "batch too large": ({role: (2, 3, 70, 5) for role in "QKV"}, ["--batch", "2"], "0 to 1"),
    "batch not a number": ({}, ["--batch", "x"], "--batch is 'x'"),
    "head too large": ({}, ["--head", "1-3"], "heads 0 to 2"),
    "head not a list": ({}, ["--head", "1,"], "--head is '1,'"),
    "head twice": ({}, ["--head", "1,1"], "each head once"),
    "head-dim does not divide": ({}, ["--head-dim", "4"], "--head-dim 4"),
    "layout unknown": ({}, ["--layout", "sideways"], "heads-first and tokens-first"),
    "scale not positive": ({}, ["--scale", "0"], "positive finite"),
    "scale not finite": ({}, ["--scale", "inf"], "positive finite"),
    "name unknown": ({}, ["--q", "Z"], "Q, K, V"),
    "file unknown": ({}, ["--q", "gone.npy"], "no such file"),
    "option unknown value": ({}, ["--q"], "expected one argument"),
}


@pytest.mark.parametrize("case", BAD_SHAPES)
def test_bad_shapes_and_options(tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    shapes, options, expected = BAD_SHAPES[case]
    given = tensors((3, 70, 5)) | {role: np.zeros(shape, np.float32) for role, shape in shapes.items()}
    assert expected in assert_refused(tmp_path, capsys, *save(tmp_path, given, "npz"), *options)


def test_other_types_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = tensors((40, 5)) | {"K": np.zeros((40, 5), np.int64)}
    assert "int64" in assert_refused(tmp_path, capsys, *save(tmp_path, given, "npz"))
    assert "I64" in assert_refused(tmp_path, capsys, *save(tmp_path, given, "safetensors"))


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("damage", ["truncated", "rubbish", "empty"])
def test_damaged_files(tmp_path: Path, capsys: pytest.CaptureFixture[str], file_format: str, damage: str) -> None:
    inputs = save(tmp_path, tensors((40, 5)), file_format)
    path = Path(inputs[0])
    content = path.read_bytes()
    path.write_bytes({"truncated": content[:-100], "rubbish": b"\xff" * 300, "empty": b""}[damage])
    assert path.name in assert_refused(tmp_path, capsys, *inputs)


def test_compressed_member_with_a_flipped_bit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = save(tmp_path, tensors((4000, 5)), "npz-compressed")
    content = bytearray(Path(inputs[0]).read_bytes())
    content[20000] ^= 255
    Path(inputs[0]).write_bytes(content)
    assert "all.npz" in assert_refused(tmp_path, capsys, *inputs)


def test_missing_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = save(tmp_path, tensors((40, 5)), "npz")
    assert "no input" in assert_refused(tmp_path, capsys)
    assert "no such file" in assert_refused(tmp_path, capsys, tmp_path / "none.npz")
    (tmp_path / "x.pt").write_bytes(b"1")
    assert ".safetensors" in assert_refused(tmp_path, capsys, tmp_path / "x.pt")
    with pytest.raises(SystemExit):
        call(*inputs)
    assert capsys.readouterr().err.count("\n") == 1
    assert call(*inputs, "-o", tmp_path / "nowhere" / "out.h5") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_names_that_fit_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = tensors((40, 5))
    np.savez(tmp_path / "a.npz", q=given["Q"], query=given["Q"], k=given["K"], v=given["V"])
    assert "2 tensors could be Q" in assert_refused(tmp_path, capsys, tmp_path / "a.npz")


def test_one_failing_write(tmp_path: Path) -> None:
    """HDF5 writes chunks when their dataset is closed, and h5py does not say when only that fails."""
    library = failing_library(tmp_path)
    if library is None:
        pytest.skip("there is no C compiler for the library that makes calls fail")
    rng = np.random.default_rng(3)
    np.savez(tmp_path / "in.npz", **{role: rng.standard_normal((2, 700, 64), dtype="f4") for role in "QKV"})
    words = [sys.executable, "-m", "asymptop", "convert", str(tmp_path / "in.npz"), "--force", "-o"]
    environment = os.environ | {"PYTHONPATH": str(Path(convert.__file__).parents[1])}
    subprocess.run([*words, str(tmp_path / "whole.h5")], env=environment, check=True, capture_output=True)
    refused = 0
    for at in (2, 5, 8):
        output = tmp_path / f"{at}.h5"
        fault = settings(library, "write", f".{at}.h5.", at, errno.ENOSPC) | {"FAIL_COUNT": "1"}
        done = subprocess.run([*words, str(output)], env=environment | fault, capture_output=True, text=True)
        refused += done.returncode != 0
        if done.returncode == 0:
            with h5py.File(output) as file, h5py.File(tmp_path / "whole.h5") as whole:
                assert all(np.array_equal(file[role][()], whole[role][()]) for role in "QKV"), f"write {at}"
        else:
            assert not output.exists()
            first = done.stderr.splitlines()[0]  # h5py may say more, as it lets go of what it could not write
            assert first.startswith("asymptop convert: "), done.stderr
            assert os.strerror(errno.ENOSPC) in first
    assert refused >= 1, "each of the three is written in chunks"


@pytest.mark.parametrize("compressed", [False, True])
def test_an_npz_is_judged_by_what_is_asked_for(
    tmp_path: Path, compressed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Entries beside Q, K and V that cannot be read: objects, a header that numpy does not take, an unknown type."""
    arrays = tensors((40, 4))
    texts = np.array(["some", "text", None] * 200, dtype=object)
    save_npz = np.savez_compressed if compressed else np.savez
    save_npz(tmp_path / "t.npz", texts=texts, names=np.array(["a", "b"]), **arrays)
    with zipfile.ZipFile(tmp_path / "t.npz", "a") as archive:
        archive.writestr("broken.npy", b"\x93NUMPY\x01\x00\x04\x00{}  ")
        archive.writestr("readme.txt", b"not an array")
    found = converted(tmp_path, str(tmp_path / "t.npz"))
    for role in "QKV":
        np.testing.assert_array_equal(found[role], arrays[role])
    capsys.readouterr()
    for name, words in (("texts", "is of type object"), ("broken", "is of type unreadable (")):
        assert words in assert_refused(tmp_path, capsys, tmp_path / "t.npz", "--q", name, "--force")
