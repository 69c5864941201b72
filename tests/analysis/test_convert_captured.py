"""convert on what people capture: layouts, padding, scales of float8 caches, bits saved as integers."""

from __future__ import annotations

import struct
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest
from asymptop.commands import convert
from asymptop.io.number_formats import WIDENED
from test_convert import assert_refused, call, converted, tensors

SHORT = [name for name in WIDENED if name.startswith(("bfloat", "float8"))]


def saved(folder: Path, arrays: dict[str, np.ndarray], name: str = "t.npz") -> Path:
    np.savez(folder / name, **arrays)
    return folder / name


# ---- shapes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("shared", [1, 2, 4])
def test_tokens_first_is_seen_by_the_shapes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], batch: bool, shared: int
) -> None:
    given = tensors((4, 96, 8))
    given |= {role: given[role][:shared] for role in "KV"}
    stored = {role: np.ascontiguousarray(array.swapaxes(0, 1)) for role, array in given.items()}
    stored = {role: array[None] if batch else array for role, array in stored.items()}
    if shared == 4:  # (96, 4, 8) throughout could be 96 heads of 4 tokens
        message = assert_refused(tmp_path, capsys, saved(tmp_path, stored))
        assert "96 heads of 4 tokens" in message
        assert "--layout" in message
        return
    found = converted(tmp_path, saved(tmp_path, stored))
    for role in "QKV":
        np.testing.assert_array_equal(found[role], given[role])
    assert "tokens-first" in capsys.readouterr().out


def test_keys_without_an_axis_for_heads(tmp_path: Path) -> None:
    given = tensors((4, 96, 8))
    given |= {role: given[role][0] for role in "KV"}
    for q in (given["Q"], given["Q"].swapaxes(0, 1)):
        found = converted(tmp_path, saved(tmp_path, given | {"Q": q}), "--force")
        np.testing.assert_array_equal(found["Q"], given["Q"])
        np.testing.assert_array_equal(found["K"], given["K"][None])


@pytest.mark.parametrize("width", [1, 16, 40])
def test_values_of_another_width(tmp_path: Path, width: int) -> None:
    """As (heads, n, d_v), as (n, heads, d_v) and with heads side by side."""
    given = tensors((4, 96, 24))
    given |= {"K": given["K"][:2], "V": np.resize(given["V"], (2, 96, width))}
    last = {role: np.ascontiguousarray(array.swapaxes(0, 1)) for role, array in given.items()}
    aside = {role: array.reshape(96, -1) for role, array in last.items()}
    for arrays, options in ((given, []), (last, []), (aside, ["--head-dim", "24"])):
        found = converted(tmp_path, saved(tmp_path, arrays), "--force", *options)
        for role in "QKV":
            np.testing.assert_array_equal(found[role], given[role])


def test_more_heads_than_tokens_as_said(tmp_path: Path) -> None:
    given = tensors((40, 6, 5))
    path = saved(tmp_path, given)
    np.testing.assert_array_equal(converted(tmp_path, path, "--layout", "heads-first")["K"], given["K"])
    found = converted(tmp_path, path, "--layout", "tokens-first", "--force")
    np.testing.assert_array_equal(found["K"], given["K"].swapaxes(0, 1))


@pytest.mark.parametrize(
    ("shapes", "options", "words"),
    [
        ({"Q": (4, 96, 24), "K": (4, 96, 16), "V": (4, 96, 24)}, [], "the same d of Q and K"),
        ({"Q": (4, 1, 8), "K": (2, 96, 8), "V": (2, 96, 8)}, [], "Q of some of the tokens alone"),
        ({"Q": (4, 32, 8), "K": (2, 96, 8), "V": (2, 96, 8)}, [], "Q of some of the tokens alone"),
        ({"Q": (4, 192, 8), "K": (4, 96, 8), "V": (4, 96, 8)}, [], "n = 192"),
        ({"Q": (2, 4, 96, 8), "K": (2, 96, 8), "V": (2, 96, 8)}, ["--batch", "0"], "the batch of 2"),
        ({"Q": (4, 96, 8), "K": (4, 96, 8), "V": (4, 96, 8)}, ["--batch", "0"], "no tensor has a batch axis"),
        ({"Q": (96, 5000), "K": (96, 5000), "V": (96, 5000)}, [], "d may be 4096 at most"),
        ({"Q": (96, 8), "K": (96, 8), "V": (96, 5000)}, [], "d may be 4096 at most"),
    ],
)
def test_what_cannot_be_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shapes: dict, options: list[str], words: str
) -> None:
    given = {role: np.ones(shape, "f4") for role, shape in shapes.items()}
    message = assert_refused(tmp_path, capsys, saved(tmp_path, given), *options)
    assert words in message
    assert message.count("Q (") == 1 or "batch" in message


# ---- padding -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "kept"), [("5:64", slice(5, 64)), ("5:", slice(5, 64)), (":60", slice(0, 60))])
def test_a_range_of_tokens(tmp_path: Path, text: str, kept: slice) -> None:
    given = tensors((2, 64, 8))
    found = converted(tmp_path, saved(tmp_path, given), "--tokens", text)
    for role in "QKV":
        np.testing.assert_array_equal(found[role], given[role][:, kept])


@pytest.mark.parametrize("text", ["5", "a:b", "7:7", "9:3", "-5:", "64:", "0:65", "1:2:3", "", "5:\n6"])
def test_ranges_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    message = assert_refused(tmp_path, capsys, saved(tmp_path, tensors((2, 64, 8))), f"--tokens={text}")
    assert "--tokens" in message


@pytest.mark.parametrize("value", [np.nan, -np.inf])
@pytest.mark.parametrize(("first", "end"), [(5, 64), (0, 50), (3, 61)])
def test_padding_that_is_not_finite(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    value: float,
    first: int,
    end: int,
) -> None:
    monkeypatch.setattr(convert, "SLAB_BYTES", 900)
    given = tensors((2, 64, 8))
    given["K"][:, :first] = given["K"][:, end:] = value
    path = saved(tmp_path, given)
    assert f"--tokens {first}:{end} leaves it out" in assert_refused(tmp_path, capsys, path)
    found = converted(tmp_path, path, "--tokens", f"{first}:{end}")
    np.testing.assert_array_equal(found["K"], given["K"][:, first:end])
    capsys.readouterr()
    given["K"][:, (first + end) // 2] = value
    message = assert_refused(tmp_path, capsys, saved(tmp_path, given), "--tokens", f"{first}:{end}", "--force")
    assert f"row {(first + end) // 2}," in message
    assert "leaves it out" not in message


@pytest.mark.parametrize("value", [0.0, -1e30, np.finfo(np.float32).min])
def test_padding_that_is_finite_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str], value: float) -> None:
    given = tensors((2, 64, 8))
    given["K"][:, 60:] = value
    converted(tmp_path, saved(tmp_path, given | {"attention_mask": np.ones((2, 64))}))
    said = capsys.readouterr().out
    assert "same number in all columns of 4 rows: if that is padding, --tokens 0:60 leaves it out" in said
    assert "left out: 1 of the inputs, attention_mask" in said


def test_a_head_of_zeros_is_said_and_a_tensor_of_zeros_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for role in "QKV":
        given = tensors((3, 64, 8))
        given[role][1] = 0
        assert call(saved(tmp_path, given), "-o", tmp_path / "out.h5", "--force") == 0
        assert f"{role} ({tmp_path / 't.npz'}:{role}) is zero in 1 of 3 heads: 1" in capsys.readouterr().out
        given[role][:] = 0
        (tmp_path / "out.h5").unlink()
        assert "is zero everywhere" in assert_refused(tmp_path, capsys, saved(tmp_path, given))


# ---- formats -----------------------------------------------------------------------------------------------------


def as_npy(path: Path, array: np.ndarray, descr: str) -> Path:
    with path.open("wb") as out:
        header = {"descr": descr, "fortran_order": False, "shape": array.shape}
        np.lib.format.write_array_header_1_0(out, header)
        out.write(array.tobytes())
    return path


@pytest.mark.parametrize("kind", SHORT)
def test_formats_of_ml_dtypes_in_npy(tmp_path: Path, kind: str) -> None:
    """As numpy saves them, under a header that names them, and as bits in every integer type."""
    sign = np.abs if kind == "float8_e8m0fnu" else np.asarray
    given = {role: sign(array).astype(getattr(ml_dtypes, kind)) for role, array in tensors((60, 8)).items()}
    size = np.dtype(getattr(ml_dtypes, kind)).itemsize
    for descr in (kind, f"|u{size}", f"<i{size}", f"|V{size}", f">u{size}"):
        stored = {r: a.view(f"u{size}").byteswap() if descr[0] == ">" else a for r, a in given.items()}
        files = [as_npy(tmp_path / f"{role}.npy", array, descr) for role, array in stored.items()]
        named = descr == kind or descr == "|V2"
        found = converted(tmp_path, *files, "--force", *([] if named else ["--read-as", kind]))
        for role in "QKV":
            np.testing.assert_array_equal(found[role], given[role].astype("f4"), err_msg=descr)
    for role, array in given.items():
        np.save(tmp_path / f"{role}.npy", array)
    files = [tmp_path / f"{role}.npy" for role in given]
    known = kind in ("bfloat16", "float8_e5m2")
    found = converted(tmp_path, *files, "--force", *([] if known else ["--read-as", kind]))
    np.testing.assert_array_equal(found["V"], given["V"].astype("f4"))


def test_bits_are_read_as_nothing_by_themselves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = tensors((60, 8), "bfloat16")
    path = saved(tmp_path, {role: array.view("u2") for role, array in given.items()})
    message = assert_refused(tmp_path, capsys, path)
    assert "uint16, which may be the bits of float16, bfloat16: say which with --read-as" in message
    assert "allowed are float64" in assert_refused(tmp_path, capsys, path, "--read-as", "bf16")
    assert "is of type uint16" in assert_refused(tmp_path, capsys, path, "--read-as", "float8_e5m2")
    path = saved(tmp_path, given)
    assert "no tensor is stored as bits" in assert_refused(tmp_path, capsys, path, "--read-as", "bfloat16")
    path = saved(tmp_path, {role: np.ones((60, 8), "i1") for role in "QKV"})
    assert "if quantised, save it multiplied by its scale" in assert_refused(tmp_path, capsys, path)
    mixed = saved(tmp_path, {"Q": given["Q"].astype("f4"), "K": given["K"].view("u2"), "V": given["V"]})
    found = converted(tmp_path, mixed, "--read-as", "bfloat16")
    for role in "QKV":
        np.testing.assert_array_equal(found[role], given[role].astype("f4"))


def test_headers_of_npy_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = tensors((60, 8))
    for role, array in good.items():
        np.save(tmp_path / f"{role}.npy", array)
    files = [tmp_path / f"{role}.npy" for role in good]
    for text in (
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-60, 8)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (True, 8)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (60, 8)",
        "{'descr': '<f4', 'shape': (60, 8)}",
        "{'descr': 'float7', 'fortran_order': False, 'shape': (60, 8)}",
        "__import__('os').system('false')",
        "[" * 5000,
        "(" * 200 + ")" * 200,
    ):
        header = text.encode() + b"\n"
        files[1].write_bytes(b"\x93NUMPY\x02\x00" + struct.pack("<I", len(header)) + header + good["K"].tobytes())
        assert "K.npy" in assert_refused(tmp_path, capsys, *files)
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (60, 8)}\n"
    files[1].write_bytes(b"\x93NUMPY\x03\x00" + struct.pack("<I", len(header)) + header + good["K"].tobytes())
    np.testing.assert_array_equal(converted(tmp_path, *files)["K"], good["K"])


# ---- scales of float8 --------------------------------------------------------------------------------------------


def cache(kind: str = "float8_e4m3fn") -> dict[str, np.ndarray]:
    """As NumPy sees a captured cache: q in float32, k and v as bits."""
    given = tensors((4, 60, 8))
    return {"q": given["Q"]} | {x: given[x.upper()][:2].astype(getattr(ml_dtypes, kind)).view("u1") for x in "kv"}


@pytest.mark.parametrize("name", ["{}_scale", "{}.scale", "{}_cache_scale", "{}_descale"])
@pytest.mark.parametrize("shape", [(), (1,), (2,), (2, 1, 1), (1, 2, 1)])
def test_a_scale_beside_is_applied_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, shape: tuple[int, ...]
) -> None:
    given = cache()
    k_scale, v_scale = np.array([0.25, 3.7], "f4"), np.float32(0.1)
    k_scale = k_scale.reshape(shape) if 2 in shape else k_scale[0].reshape(shape)
    scales = {name.format("k"): k_scale, name.format("v"): v_scale}
    found = converted(tmp_path, saved(tmp_path, given | scales), "--read-as", "float8_e4m3fn")
    for role, scale in (("K", k_scale.reshape(-1)), ("V", np.array([v_scale]))):
        wide = given[role.lower()].view(ml_dtypes.float8_e4m3fn).astype("f8")
        np.testing.assert_array_equal(found[role], (wide * scale.astype("f8")[:, None, None]).astype("f4"))
    np.testing.assert_array_equal(found["Q"], given["q"])
    said = capsys.readouterr().out
    assert "K is multiplied by its scale (" in said
    assert "V is multiplied by its scale (0.1, " in said
    assert "left out" not in said


def test_scales_by_head_follow_the_heads(tmp_path: Path) -> None:
    given = cache() | {"k_scale": np.array([0.5, 8.0]), "v_scale": np.array([2.0, 4.0])}
    path = saved(tmp_path, given)
    found = converted(tmp_path, path, "--read-as", "float8_e4m3fn", "--head", "3,0")
    wide = given["v"].view(ml_dtypes.float8_e4m3fn).astype("f8")
    np.testing.assert_array_equal(found["V"], np.stack([wide[1] * 4.0, wide[0] * 2.0]))


def test_scales_by_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = cache() | {"k_scale_inv": np.float32(4), "factor": np.float32(0.5)}
    path, read_as = saved(tmp_path, given), ("--read-as", "float8_e4m3fn")
    message = assert_refused(tmp_path, capsys, path, *read_as)
    assert "k_scale_inv beside it; say what it is multiplied by with --k-scale" in message
    found = converted(tmp_path, path, *read_as, "--k-scale", "0.25", "--v-scale", "factor", "--q-scale", "2")
    said = capsys.readouterr().out
    assert "K is multiplied by its scale (0.25, as given)" in said
    for role, scale in (("K", 0.25), ("V", 0.5)):
        wide = given[role.lower()].view(ml_dtypes.float8_e4m3fn).astype("f4")
        np.testing.assert_array_equal(found[role], wide * scale)
    np.testing.assert_array_equal(found["Q"], given["q"] * 2)
    for words in (["--k-scale", "0"], ["--k-scale", "nan"], ["--k-scale", "gone"], ["--k-scale", "q"]):
        assert "--k-scale" in assert_refused(tmp_path, capsys, path, *read_as, *words, "--force")


def test_no_scale_beside_and_scales_of_wide_tensors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    converted(tmp_path, saved(tmp_path, cache()), "--read-as", "float8_e4m3fn")
    assert "K is float8_e4m3fn with no scale beside: taken as it is (see --k-scale)" in capsys.readouterr().out
    given = tensors((60, 8))
    found = converted(tmp_path, saved(tmp_path, given | {"K_scale": np.float32(7)}), "--force")
    np.testing.assert_array_equal(found["K"], given["K"])
    assert "K_scale is not applied: K is float32 (see --k-scale)" in capsys.readouterr().out
    for bad in (np.float32(-1), np.float32(np.nan), np.ones(3, "f4"), np.array(["x"])):
        path = saved(tmp_path, cache() | {"k_scale": bad})
        assert "k_scale" in assert_refused(tmp_path, capsys, path, "--read-as", "float8_e4m3fn", "--force")


def test_the_scale_is_found_beside_a_tensor_named_with_its_file(tmp_path: Path) -> None:
    given = {f"l3.{name}": array for name, array in cache().items()} | {"l3.k_scale": np.float32(2), "l4.k_scale": 5.0}
    path = saved(tmp_path, given)
    words = [w for x in "qkv" for w in (f"--{x}", f"{path}:l3.{x}")]
    found = converted(tmp_path, *words, "--read-as", "float8_e4m3fn")
    wide = given["l3.k"].view(ml_dtypes.float8_e4m3fn).astype("f4")
    np.testing.assert_array_equal(found["K"], wide * 2)
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["K"].attrs["source_type"] == "float8_e4m3fn"
