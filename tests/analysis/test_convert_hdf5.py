"""convert from HDF5 files of others: exact values, or one line; never what nobody wrote."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest
from asymptop.io.number_formats import storage
from asymptop.tensors import hdf5_tensors
from asymptop.tensors.layered_file import LogitTerms, write_layer, write_root
from h5py import h5d, h5s, h5t
from test_convert import assert_refused, call, converted, tensors


def write(path: Path, arrays: dict[str, np.ndarray], **options: object) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, **options)
    return path


@pytest.mark.parametrize("kind", ["<f8", ">f8", "<f4", ">f4", "<f2", ">f2"])
@pytest.mark.parametrize("options", [{}, {"chunks": (2, 30, 5), "compression": "gzip", "shuffle": True}])
def test_values_are_kept_exactly(tmp_path: Path, kind: str, options: dict) -> None:
    given = {role: array.astype(kind) for role, array in tensors((3, 70, 5)).items()}
    for suffix in (".h5", ".hdf5", ".mat"):
        found = converted(tmp_path, write(tmp_path / f"t{suffix}", given, **options), "--force")
        for role in "QKV":
            np.testing.assert_array_equal(found[role], given[role].astype("f8"))


def test_datasets_larger_than_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = tensors((4, 301, 5))
    for size in (20, 1000, 7000):
        monkeypatch.setattr(hdf5_tensors, "_BLOCK_BYTES", size)
        found = converted(tmp_path, write(tmp_path / "t.h5", given, chunks=(2, 64, 5)), "--force")
        np.testing.assert_array_equal(found["V"], given["V"])


def float_type(size: int, exponent_bits: int, mantissa_bits: int, bias: int, order: int) -> h5t.TypeFloatID:
    kind = (h5t.IEEE_F32LE if size > 1 else h5t.IEEE_F16LE).copy()
    kind.set_fields(exponent_bits + mantissa_bits, mantissa_bits, exponent_bits, 0, mantissa_bits)
    kind.set_ebias(bias)
    kind.set_precision(8 * size)
    kind.set_size(size)
    kind.set_order(order)
    return kind


@pytest.mark.parametrize("order", [h5t.ORDER_LE, h5t.ORDER_BE])
@pytest.mark.parametrize(
    ("name", "fields"),
    [("bfloat16", (2, 8, 7, 127)), ("float8_e4m3fn", (1, 4, 3, 7)), ("float8_e5m2", (1, 5, 2, 15))],
)
def test_short_floats_of_hdf5(tmp_path: Path, name: str, fields: tuple[int, ...], order: int) -> None:
    """Every finite pattern. HDF5 itself turns 256 to 448 of float8_e4m3fn into infinity and NaN."""
    stored = storage(name)
    bits = np.arange(1 << (8 * stored.itemsize), dtype=stored)
    values = bits.view(getattr(ml_dtypes, name)).astype(np.float32)
    bits, values = bits[np.isfinite(values)].reshape(-1, 2), values[np.isfinite(values)].reshape(-1, 2)
    with h5py.File(tmp_path / "t.h5", "w") as file:
        for role in "QKV":
            dataset = h5d.create(file.id, role.encode(), float_type(*fields, order), h5s.create_simple(bits.shape))
            swapped = bits.byteswap() if order == h5t.ORDER_BE else bits
            dataset.write(h5s.ALL, h5s.ALL, np.ascontiguousarray(swapped), mtype=dataset.get_type())
    np.testing.assert_array_equal(converted(tmp_path, tmp_path / "t.h5")["K"], values)


def test_bfloat16_as_h5py_writes_it(tmp_path: Path) -> None:
    given = tensors((40, 5), "bfloat16")
    found = converted(tmp_path, write(tmp_path / "t.h5", given))
    np.testing.assert_array_equal(found["Q"], given["Q"].astype("f4"))


def test_names_links_and_scale(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = tensors((2, 40, 5))
    write(tmp_path / "elsewhere.h5", {"layer0/values": given["V"]})
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file["layer0/queries"], file["layer0/keys"] = given["Q"], given["K"]
        file["K"] = h5py.SoftLink("/layer0/keys")
        file["V"] = h5py.ExternalLink("elsewhere.h5", "/layer0/values")
        file["layer0/up"] = file["/"]
        file["texts"] = np.array(["a", "b"], dtype=object)
        file["gone"] = h5py.ExternalLink("nowhere.h5", "/x")
        file.attrs["scale"] = 0.25
    found = converted(tmp_path, tmp_path / "t.h5", "--q", "/layer0/queries")
    for role in "QKV":
        np.testing.assert_array_equal(found[role], given[role])
    said = capsys.readouterr().out
    assert "the logit scale 0.25 is that of" in said
    assert "left out: 3 of the inputs, gone, layer0/keys, texts" in said
    with h5py.File(tmp_path / "out.h5") as file:
        assert file.attrs["scale"] == 0.25
    converted(tmp_path, tmp_path / "t.h5", "--q", "layer0/queries", "--scale", "2", "--force")
    with h5py.File(tmp_path / "out.h5") as file:
        assert file.attrs["scale"] == 2.0
    capsys.readouterr()
    assert "nowhere.h5" in assert_refused(tmp_path, capsys, tmp_path / "t.h5", "--q", "gone", "--force")


# ---- axes in reverse ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", ["MATLAB_class", "rhdf5-NA.OK"])
@pytest.mark.parametrize("shape", [(70, 5), (3, 70, 5), (1, 3, 70, 5)])
def test_columns_first_languages_are_turned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mark: str, shape: tuple[int, ...]
) -> None:
    """What the user of MATLAB calls Q(h, i, c) lies at [c, i, h] of the file."""
    given = tensors(shape)
    with h5py.File(tmp_path / "t.mat", "w", userblock_size=512) as file:
        for role, array in given.items():
            file.create_dataset(role, data=array.T, chunks=True).attrs[mark] = np.bytes_("single")
    found = converted(tmp_path, tmp_path / "t.mat")
    for role in "QKV":
        np.testing.assert_array_equal(found[role], given[role].reshape(shape[-3:]))
    said = capsys.readouterr().out
    assert f"of shape {shape}" in said
    assert f"axes turned from {'R' if mark.startswith('r') else 'MATLAB'}'s order" in said


def test_julia_leaves_no_mark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = tensors((70, 5))
    path = write(tmp_path / "t.jld2", {role: array.T for role, array in given.items()})
    converted(tmp_path, path)
    assert "n = 5 and d = 70; were they stored in reverse?" in capsys.readouterr().out
    found = converted(tmp_path, path, "--reverse-axes", "--force")
    for role in "QKV":
        np.testing.assert_array_equal(found[role], given[role])


def test_old_matlab_and_other_files_in_hdf5s_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "old.mat").write_bytes(b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(400))
    assert "save it with -v7.3" in assert_refused(tmp_path, capsys, tmp_path / "old.mat")
    (tmp_path / "text.h5").write_bytes(b"no HDF5 at all" * 100)
    assert "file signature not found" in assert_refused(tmp_path, capsys, tmp_path / "text.h5")
    newer = bytearray(write(tmp_path / "newer.h5", tensors((40, 5))).read_bytes())
    newer[8] = 9  # the version of the superblock
    (tmp_path / "newer.h5").write_bytes(newer)
    assert "bad superblock version number" in assert_refused(tmp_path, capsys, tmp_path / "newer.h5")


# ---- what nobody wrote -------------------------------------------------------------------------------------------


def unwritten(file: h5py.File, array: np.ndarray) -> None:
    file.create_dataset("K", array.shape, "f4")


def one_chunk_of_many(file: h5py.File, array: np.ndarray) -> None:
    file.create_dataset("K", array.shape, "f4", chunks=(1, 30, 5))[:, 30:] = array[:, 30:]


def source_gone(file: h5py.File, array: np.ndarray) -> None:
    layout = h5py.VirtualLayout(array.shape, "f4")
    layout[:] = h5py.VirtualSource("gone.h5", "K", array.shape)
    file.create_virtual_dataset("K", layout)


def source_too_small(file: h5py.File, array: np.ndarray) -> None:
    write(Path(file.filename).with_name("part.h5"), {"K": array[:, :60]})
    layout = h5py.VirtualLayout(array.shape, "f4")
    layout[:] = h5py.VirtualSource("part.h5", "K", array.shape)
    file.create_virtual_dataset("K", layout)


def source_without_it(file: h5py.File, array: np.ndarray) -> None:
    write(Path(file.filename).with_name("part.h5"), {"other": array})
    layout = h5py.VirtualLayout(array.shape, "f4")
    layout[:] = h5py.VirtualSource("part.h5", "K", array.shape)
    file.create_virtual_dataset("K", layout)


def half_mapped(file: h5py.File, array: np.ndarray) -> None:
    write(Path(file.filename).with_name("part.h5"), {"K": array})
    layout = h5py.VirtualLayout(array.shape, "f4")
    layout[1:] = h5py.VirtualSource("part.h5", "K", array.shape)[1:]
    file.create_virtual_dataset("K", layout)


def pattern(file: h5py.File, array: np.ndarray) -> None:
    for part in range(7):
        write(Path(file.filename).with_name(f"part-{part}.h5"), {"K": array[0, 10 * part : 10 * part + 10]})
    plist, shape = h5py.h5p.create(h5py.h5p.DATASET_CREATE), (70, 5)
    space = h5s.create_simple(shape, (h5s.UNLIMITED, 5))
    space.select_hyperslab((0, 0), (h5s.UNLIMITED, 1), (10, 1), (10, 5))
    plist.set_virtual(space, b"part-%b.h5", b"K", h5s.create_simple((10, 5)))
    h5d.create(file.id, b"K", h5t.IEEE_F32LE, h5s.create_simple(shape, (h5s.UNLIMITED, 5)), plist)


def source_without_end(file: h5py.File, array: np.ndarray) -> None:
    with h5py.File(Path(file.filename).with_name("part.h5"), "w") as part:
        part.create_dataset("K", data=array[0], maxshape=(None, 5))
    plist, shape = h5py.h5p.create(h5py.h5p.DATASET_CREATE), (70, 5)
    space = h5s.create_simple(shape, (h5s.UNLIMITED, 5))
    space.select_hyperslab((0, 0), (1, 1), (1, 1), (h5s.UNLIMITED, 5))
    plist.set_virtual(space, b"part.h5", b"K", space)
    h5d.create(file.id, b"K", h5t.IEEE_F32LE, h5s.create_simple(shape, (h5s.UNLIMITED, 5)), plist)


def source_unwritten(file: h5py.File, array: np.ndarray) -> None:
    with h5py.File(Path(file.filename).with_name("part.h5"), "w") as part:
        one_chunk_of_many(part, array)
    layout = h5py.VirtualLayout(array.shape, "f4")
    layout[:] = h5py.VirtualSource("part.h5", "K", array.shape)
    file.create_virtual_dataset("K", layout)


def external_gone(file: h5py.File, array: np.ndarray) -> None:
    folder = Path(file.filename).parent
    file.create_dataset("K", array.shape, "f4", external=[(str(folder / "raw.bin"), 0, array.nbytes)])


def external_short(file: h5py.File, array: np.ndarray) -> None:
    external_gone(file, array)
    (Path(file.filename).parent / "raw.bin").write_bytes(array.tobytes()[:-400])


def zeros(file: h5py.File, array: np.ndarray) -> None:
    file["K"] = np.zeros_like(array)


def filter_absent(file: h5py.File, array: np.ndarray) -> None:
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((1, 70, 5))
    plist.set_filter(32004, h5py.h5z.FLAG_OPTIONAL, ())
    h5d.create(file.id, b"K", h5t.IEEE_F32LE, h5s.create_simple(array.shape), plist)
    for head in range(len(array)):
        file["K"].id.write_direct_chunk((head, 0, 0), array[head].tobytes())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (unwritten, "it was made but never written"),
        (one_chunk_of_many, "3 of its 9 chunks were never written"),
        (source_gone, "its source file gone.h5 is not there"),
        (source_too_small, "its source part.h5:K: its shape is (3, 60, 5), which is not what is taken of it"),
        (source_without_it, "its source part.h5:K: no such dataset"),
        (pattern, "its sources part-%b.h5:K are a pattern or have no end"),
        (source_without_end, "its sources part.h5:K are a pattern or have no end"),
        (half_mapped, "its sources fill 700 of 1050 values"),
        (source_unwritten, "its source part.h5:K: 3 of its 9 chunks were never written"),
        (external_gone, "raw.bin is not there"),
        (external_short, "raw.bin has 3800 bytes of 4200"),
        (zeros, "is zero everywhere"),
        (filter_absent, "it needs the filter 32004"),
    ],
)
def test_never_zeros_that_nobody_wrote(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[h5py.File, np.ndarray], None],
    words: str,
) -> None:
    given = tensors((3, 70, 5))
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file["Q"], file["V"] = given["Q"], given["V"]
        make(file, given["K"])
    message = assert_refused(tmp_path, capsys, tmp_path / "t.h5")
    assert words in message
    assert "t.h5:K" in message


def test_virtual_and_external_data_that_is_there(tmp_path: Path) -> None:
    given = tensors((3, 70, 5))
    folder = tmp_path / "parts"
    folder.mkdir()
    for head in range(3):
        write(folder / f"{head}.h5", {"K": given["K"][head]})
    with h5py.File(folder / "t.h5", "w") as file:
        layout = h5py.VirtualLayout(given["K"].shape, "f4")
        for head in range(3):
            layout[head] = h5py.VirtualSource(f"{head}.h5", "K", (70, 5))
        file.create_virtual_dataset("K", layout)
        file["inner"] = given["V"]
        layout = h5py.VirtualLayout(given["V"].shape, "f4")
        layout[:] = h5py.VirtualSource(".", "inner", given["V"].shape)
        file.create_virtual_dataset("V", layout)
        raw = folder / "raw.bin"
        raw.write_bytes(given["Q"].tobytes())
        file.create_dataset("Q", given["Q"].shape, "f4", external=[(str(raw), 0, given["Q"].nbytes)])
    found = converted(tmp_path, folder / "t.h5")
    for role in "QKV":
        np.testing.assert_array_equal(found[role], given[role])


def test_a_file_that_is_open_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "t.h5", tensors((40, 5)))
    hold = "import h5py, sys; f = h5py.File(sys.argv[1], 'r+'); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout.readline() == "open\n"
        assert "unable to lock file" in assert_refused(tmp_path, capsys, path)
        writer.communicate("")
    assert call(path, "-o", tmp_path / "out.h5") == 0


# ---- files of version 2 ------------------------------------------------------------------------------------------


def test_one_layer_of_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = {layer: tensors((2, 40, 5), seed=layer) for layer in (0, 3)}
    terms = LogitTerms(0.3, "causal", softcap=20.0, window=8, per_head={"sinks": np.array([0.1, 0.2])})
    with h5py.File(tmp_path / "many.h5", "w") as file:
        write_root(file, "model", "float32", {})
        for layer, arrays in given.items():
            write_layer(file.create_group(f"text0/layer{layer}"), layer, arrays, terms)
    said = assert_refused(tmp_path, capsys, tmp_path / "many.h5")
    assert "is a tensor file of version 2 (2 layers of 1 texts in all), which study reads as it is" in said
    assert "--q text0/layer0/Q --k text0/layer0/K --v text0/layer0/V" in said
    names = [word for role in "QKV" for word in (f"--{role.lower()}", f"text0/layer3/{role}")]
    lacking = assert_refused(tmp_path, capsys, tmp_path / "many.h5", *names, "--without", "sinks")
    assert (
        "text0/layer3/Q is of a layer whose logits have softcap; a file of one layer has no place for that" in lacking
    )
    assert "--without softcap,sinks leaves that out" in lacking
    assert "not 'window'" in assert_refused(tmp_path, capsys, tmp_path / "many.h5", *names, "--without", "window")
    found = converted(tmp_path, tmp_path / "many.h5", *names, "--without", "softcap,sinks")
    for role in "QKV":
        np.testing.assert_array_equal(found[role], given[3][role])
    told = capsys.readouterr().out
    assert "the logit scale 0.3 is that of" in told
    assert "left out, as asked for: softcap, sinks of the logits" in told
    assert "a file of one layer does not say it: study takes --mask causal --window 8" in told
    with h5py.File(tmp_path / "out.h5") as file:
        assert file.attrs["scale"] == 0.3
    names[1] = "text0/layer0/Q"
    assert "are not of one layer" in assert_refused(tmp_path, capsys, tmp_path / "many.h5", *names, "--force")
