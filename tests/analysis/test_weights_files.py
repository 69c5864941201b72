"""What a checkpoint's files are like: shards, formats of numbers, HDF5 of others, and what is not read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest
from checkpoints import column, norms, refused, save_safetensors, told, write_config

H, G, D, W = 4, 2, 8, 32
NAME = "model.layers.{}.self_attn.{}_proj.weight"
Array = np.ndarray


def factors(seed: int, width: int = W) -> tuple[Array, Array]:
    r = np.random.default_rng(seed)
    return r.standard_normal((H, D, width)).astype("f4"), r.standard_normal((G, D, width)).astype("f4")


def layers(count: int) -> tuple[dict[str, Array], list[float]]:
    tensors, expected = {}, []
    for layer in range(count):
        q, k = factors(layer)
        expected += norms(q, k)
        tensors |= {NAME.format(layer, r): a.reshape(-1, W) for r, a in (("q", q), ("k", k))}
    return tensors, expected


def sharded(folder: Path, count: int = 3) -> tuple[list[Path], list[float]]:
    """Two shards; q and k of one layer lie in different ones."""
    tensors, expected = layers(count)
    shards: list[dict[str, Array]] = [{}, {}]
    for layer in range(count):
        for role in "qk":
            name = NAME.format(layer, role)
            shards[(layer + (role == "k")) % 2][name] = tensors[name]
    paths = [save_safetensors(folder / f"model-0000{i + 1}-of-00002.safetensors", s) for i, s in enumerate(shards)]
    places = {name: paths[i].name for i, shard in enumerate(shards) for name in shard}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    write_config(folder, num_attention_heads=H, num_key_value_heads=G)
    return paths, expected


def test_shards_by_every_way_to_name_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths, expected = sharded(tmp_path)
    for words in (paths, paths[::-1], [tmp_path], [tmp_path / "model.safetensors.index.json"]):
        assert column(told(capsys, *words), "frobenius") == pytest.approx(expected, rel=1e-5)
    # A folder without an index; other files in it are told of.
    (tmp_path / "model.safetensors.index.json").unlink()
    save_safetensors(tmp_path / "consolidated.safetensors", {"x": np.ones((2, 2), "f4")})
    facts = told(capsys, tmp_path)
    assert column(facts, "frobenius") == pytest.approx(expected, rel=1e-5)
    assert any("consolidated.safetensors" in note for note in facts["notes"])


def test_shards_that_are_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths, _ = sharded(tmp_path)
    error = refused(capsys, paths[0])
    assert "do not pair up" in error
    assert "given of the 2 shards of model: 1" in error
    lone, expected = layers(1)
    facts = told(capsys, save_safetensors(tmp_path / "part-00001-of-00003.safetensors", lone), "--heads", H)
    assert column(facts, "frobenius") == pytest.approx(expected, rel=1e-5)
    assert any("given of the 3 shards of part: 1" in note for note in facts["notes"])
    paths[1].unlink()
    assert f"the shard {paths[1].name} is not there" in refused(capsys, tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a readable index"),
        ("[]", "not a readable index"),
        ('{"weight_map": 3}', "not a readable index"),
        ('{"weight_map": {"a": 3}}', "not a readable index"),
        ('{"weight_map": {}}', "names no tensor"),
        ('{"weight_map": {"lost": "model-00001-of-00002.safetensors"}}', "does not hold lost"),
    ],
)
def test_bad_indices(tmp_path: Path, text: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    sharded(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(text)
    assert words in refused(capsys, tmp_path)


def test_layers_that_are_not_in_the_files_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors, _ = layers(2)
    write_config(tmp_path, num_attention_heads=H, num_key_value_heads=G, num_hidden_layers=5)
    facts = told(capsys, save_safetensors(tmp_path / "model.safetensors", tensors))
    assert any("2 of the 5 layers" in note for note in facts["notes"])


def test_equal_names_in_two_files_are_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (save_safetensors(tmp_path / f"{n}.safetensors", layers(1)[0]) for n in "ab")
    error = refused(capsys, first, second, "--heads", H)
    assert "b.safetensors and a.safetensors both hold a tensor called model.layers.0" in error.replace(
        f"{tmp_path}/", ""
    )


def test_folders_of_other_things(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "holds no .safetensors" in refused(capsys, tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK")
    assert "torch.load" in refused(capsys, tmp_path)
    for name in ("a", "b"):
        save_safetensors(tmp_path / f"{name}.safetensors", layers(1)[0])
    assert "more than one file of weights (a.safetensors, b.safetensors)" in refused(capsys, tmp_path)
    zarr = tmp_path / "store"
    zarr.mkdir()
    (zarr / ".zgroup").write_text("{}")
    assert "zarr.open" in refused(capsys, zarr)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        *(("m.bin", "torch.load"), ("m.pt", "torch.load"), ("m.ckpt", "torch.load"), ("m.onnx", "onnx.numpy_helper")),
        *(("m.pkl", "numpy.savez"), ("m.zarr", "zarr.open"), ("m.msgpack", "msgpack_restore"), ("m.txt", "allowed")),
    ],
)
def test_other_formats_get_advice(tmp_path: Path, name: str, advice: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04K\x01.")
    error = refused(capsys, tmp_path / name)
    assert advice in error
    assert f"ends in '{Path(name).suffix}'" in error


# ---- formats of numbers ------------------------------------------------------------------------------------------


def quantised(a: Array, kind: str, block: tuple[int, int]) -> tuple[Array, Array, Array]:
    """The float8 matrix, its block scales, and what the two stand for in float64, element by element."""
    rows, columns = a.shape
    scales = np.zeros((-(-rows // block[0]), -(-columns // block[1])), "f4")
    stored = np.zeros(a.shape, kind)
    exact = np.zeros(a.shape)
    for i in range(scales.shape[0]):
        for j in range(scales.shape[1]):
            at = np.s_[i * block[0] : (i + 1) * block[0], j * block[1] : (j + 1) * block[1]]
            scales[i, j] = np.abs(a[at]).max() / 300.0
            stored[at] = (a[at] / scales[i, j]).astype(kind)
            exact[at] = stored[at].astype(float) * float(scales[i, j])
    return stored, scales, exact


SCALED: dict[str, tuple[str, tuple[int, int], Callable[[Array], Array]]] = {
    "DeepSeek's blocks": ("_scale_inv", (16, 8), lambda s: s),
    "blocks with a short last one": ("_scale_inv", (12, 20), lambda s: s),
    "a scale a row": ("_scale", (1, W), lambda s: s),
    "a scale a row, as a list": ("_scale", (1, W), lambda s: s[:, 0].copy()),
    "one scale": ("_scale", (H * D, W), lambda s: s.reshape(())),
    "one scale, as a list": ("_scale", (H * D, W), lambda s: s.reshape(1)),
}


@pytest.mark.parametrize("kind", ["float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize("case", SCALED)
def test_float8_with_scales(tmp_path: Path, kind: str, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    end, block, shaped = SCALED[case]
    tensors, exact = {}, {}
    for role, factor in zip("qk", factors(3), strict=True):
        name = NAME.format(0, role)
        tensors[name], scales, exact[role] = quantised(factor.reshape(-1, W), getattr(ml_dtypes, kind), block)
        if scales.size == 1 or len(factor) == H or end == "_scale":
            shape = shaped(scales) if block[0] == 1 or scales.size == 1 or end != "_scale" else scales
        else:
            shape = scales
        tensors[name + end] = shape
    path = save_safetensors(tmp_path / "model.safetensors", tensors)
    facts = {"quantization_config": {"weight_block_size": list(block)}} if end == "_scale_inv" else {}
    write_config(tmp_path, num_attention_heads=H, num_key_value_heads=G, **facts)
    found = told(capsys, path)
    right = norms(exact["q"].reshape(H, D, W), exact["k"].reshape(G, D, W))
    assert column(found, "frobenius") == pytest.approx(right, rel=1e-9)
    assert any("multiplied by its scales" in note for note in found["notes"])


def test_float8_whose_scales_are_not_plain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    q, k = (a.reshape(-1, W).astype(ml_dtypes.float8_e4m3fn) for a in factors(4))
    names = [NAME.format(0, r) for r in "qk"]
    plain = dict(zip(names, (q, k), strict=True))

    def refuse(more: dict[str, Array]) -> str:
        return refused(capsys, save_safetensors(tmp_path / "m.safetensors", plain | more), "--heads", H)

    one = np.ones((1, 1), "f4")
    assert "does not say which blocks" in refuse({names[0] + "_scale_inv": np.ones((7, 1), "f4")})
    assert "is not a scale of the tensor" in refuse({names[0] + "_scale": np.ones(5, "f4")})
    assert "more than one scale" in refuse({names[0] + "_scale_inv": one, names[0] + "_scale": one})
    assert "its scale is not known" in refuse({names[0].replace("weight", "weights_scaling"): one})
    assert "not finite" in refuse({names[0] + "_scale_inv": np.full((1, 1), np.nan, "f4")})
    # With none at all it is a plain cast, which is said.
    facts = told(capsys, save_safetensors(tmp_path / "m.safetensors", plain), "--heads", H)
    exact = [a.astype(float).reshape(-1, D, W) for a in (q, k)]
    assert column(facts, "frobenius") == pytest.approx(norms(*exact), rel=1e-9)
    assert any("float8_e4m3fn without scales is taken as it is" in note for note in facts["notes"])
    # 160 rows in two blocks: of 80, or of 128 and 32.
    wide = {n: np.ones((160, 8), ml_dtypes.float8_e4m3fn) for n in names}
    wide |= {n + "_scale_inv": np.ones((2, 1), "f4") for n in names}
    assert "does not say which blocks" in refused(
        capsys, save_safetensors(tmp_path / "m.safetensors", wide), "--heads", 4
    )


UNREAD = {
    "int8": ({"weight": np.int8}, "I8"),
    "GPTQ": ({"qweight": np.int32, "qzeros": np.int32, "g_idx": np.int32, "scales": np.float16}, "I32"),
    "bitsandbytes": ({"weight": np.uint8, "weight.absmax": np.float32, "weight.quant_map": np.float32}, "U8"),
    "compressed-tensors": ({"weight_packed": np.uint8, "weight_scale": np.float16}, "U8"),
    "MLX": ({"weight": np.uint32, "scales": np.float16, "biases": np.float16}, "U32"),
    "complex": ({"weight": np.complex64}, "C64"),
}


@pytest.mark.parametrize("how", UNREAD)
def test_what_cannot_be_read_is_named_with_count_and_type(
    tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds, told_type = UNREAD[how]
    tensors = {
        f"model.layers.{layer}.self_attn.{role}_proj.{end}": np.ones((H * D, W) if "weight" in end else (3, 5), kind)
        for layer in range(3)
        for role in "qk"
        for end, kind in kinds.items()
    }
    path = save_safetensors(tmp_path / "m.safetensors", tensors)
    assert f"cannot be read: 6 of type {told_type} such as model.layers.0" in refused(capsys, path, "--heads", H)
    # Some layers that can be read: the others are told of.
    plain, expected = layers(1)
    mixed = {name.replace("layers.0", "layers.9"): a for name, a in plain.items()} | tensors
    facts = told(capsys, save_safetensors(tmp_path / "m.safetensors", mixed), "--heads", H)
    assert column(facts, "frobenius") == pytest.approx(expected, rel=1e-5)
    assert any(f"6 of type {told_type}" in note and "layers 0, 1, 2" in note for note in facts["notes"])
    # A layer of which only the queries can be read is an error.
    half = {n: a for n, a in plain.items() if "q_proj" in n} | {
        n: a for n, a in tensors.items() if ".0." in n and "k_proj" in n
    }
    error = refused(capsys, save_safetensors(tmp_path / "m.safetensors", mixed | half), "--heads", H)
    assert "cannot be read" in error


def test_entries_that_nobody_asked_for_are_not_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    q, k = factors(5)
    texts = np.array(["text"] * 400, dtype=object)
    np.savez(tmp_path / "w.npz", q_proj=q.reshape(-1, W), k_proj=k.reshape(-1, W), texts=texts, ids=np.arange(3))
    assert column(told(capsys, tmp_path / "w.npz", "--heads", H), "frobenius") == pytest.approx(norms(q, k), rel=1e-5)
    np.savez(tmp_path / "x.npz", texts=texts, ids=np.ones((9, W), int), x=np.ones((9, W)) * np.arange(9)[:, None])
    told(capsys, tmp_path / "w.npz", "--heads", H, "--inputs", tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz", ids=np.ones((9, W), int))
    assert "1 of type int64" in refused(capsys, tmp_path / "w.npz", "--heads", H, "--inputs", tmp_path / "x.npz")
    np.savez(tmp_path / "w.npz", q_proj=q.reshape(-1, W), k_proj=texts)
    assert "1 of type object such as k_proj" in refused(capsys, tmp_path / "w.npz", "--heads", H)


@pytest.mark.parametrize("suffix", ["npz", "h5", "safetensors"])
def test_weights_that_are_all_zero_are_refused(tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    q, _ = factors(6)
    arrays = {"q_proj": q.reshape(-1, W), "k_proj": np.zeros((G * D, W), "f4")}
    path = tmp_path / f"w.{suffix}"
    if suffix == "npz":
        np.savez(path, **arrays)
    elif suffix == "h5":
        with h5py.File(path, "w") as file:
            file.update(arrays)
    else:
        save_safetensors(path, arrays)
    assert "k_proj of shape (16, 32) is zero everywhere" in refused(capsys, path, "--heads", H)


# ---- HDF5 --------------------------------------------------------------------------------------------------------


def hdf5_sources(folder: Path, q: Array, k: Array) -> None:
    with h5py.File(folder / "far.h5", "w") as file:
        file["deep/k"] = k


def linked_externally(file: h5py.File, folder: Path, k: Array) -> None:
    file["k_proj"] = h5py.ExternalLink("far.h5", "/deep/k")


def linked_softly(file: h5py.File, folder: Path, k: Array) -> None:
    file["elsewhere"] = k
    file["k_proj"] = h5py.SoftLink("/elsewhere")


def virtual(file: h5py.File, folder: Path, k: Array) -> None:
    layout = h5py.VirtualLayout(k.shape, k.dtype)
    layout[:] = h5py.VirtualSource("far.h5", "deep/k", k.shape)
    file.create_virtual_dataset("k_proj", layout)


def chunked(file: h5py.File, folder: Path, k: Array) -> None:
    file.create_dataset("k_proj", data=k, chunks=(8, 8), compression="gzip", shuffle=True)


def of_matlab(file: h5py.File, folder: Path, k: Array) -> None:
    file["k_proj"] = np.ascontiguousarray(k.T)
    file["k_proj"].attrs["MATLAB_class"] = np.bytes_("single")


@pytest.mark.parametrize("make", [linked_externally, linked_softly, virtual, chunked, of_matlab])
def test_hdf5_of_others(tmp_path: Path, make: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    q, k = factors(7)
    hdf5_sources(tmp_path, q, k.reshape(-1, W))
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["q_proj"] = q.reshape(-1, W)
        make(file, tmp_path, k.reshape(-1, W))
    facts = told(capsys, tmp_path / "w.h5", "--heads", H)
    assert column(facts, "frobenius") == pytest.approx(norms(q, k), rel=1e-5)
    if make is of_matlab:
        assert any("MATLAB" in note and "(16, 32)" in note for note in facts["notes"])


def never_written(file: h5py.File, k: Array) -> None:
    file.create_dataset("k_proj", k.shape, k.dtype)


def one_chunk_lacks(file: h5py.File, k: Array) -> None:
    file.create_dataset("k_proj", k.shape, k.dtype, chunks=(8, 8))[:8] = k[:8]


def source_gone(file: h5py.File, k: Array) -> None:
    layout = h5py.VirtualLayout(k.shape, k.dtype)
    layout[:] = h5py.VirtualSource("gone.h5", "deep/k", k.shape)
    file.create_virtual_dataset("k_proj", layout)


def source_in_part(file: h5py.File, k: Array) -> None:
    layout = h5py.VirtualLayout(k.shape, k.dtype)
    layout[:8] = h5py.VirtualSource("far.h5", "deep/k", k.shape)[:8]
    file.create_virtual_dataset("k_proj", layout)


def link_gone(file: h5py.File, k: Array) -> None:
    file["k_proj"] = h5py.ExternalLink("gone.h5", "/deep/k")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (never_written, "never written"),
        (one_chunk_lacks, "chunks were never written"),
        (source_gone, "gone.h5"),
        (source_in_part, "256 of 512"),
        (link_gone, "gone.h5"),
    ],
)
def test_values_that_nobody_wrote(
    tmp_path: Path, make: Callable, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    q, k = factors(8)
    hdf5_sources(tmp_path, q, k.reshape(-1, W))
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["q_proj"] = q.reshape(-1, W)
        make(file, k.reshape(-1, W))
    error = refused(capsys, tmp_path / "w.h5", "--heads", H)
    assert words in error
    assert "k_proj" in error


def test_files_that_hdf5_does_not_open(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """HDF5's own words: an open file of another is not a damaged one."""
    (tmp_path / "w.h5").write_bytes(b"no HDF5 at all")
    assert "file signature not found" in refused(capsys, tmp_path / "w.h5")
    with h5py.File(tmp_path / "busy.h5", "w", locking=True) as file:
        file["q_proj"] = np.ones((4, 4))
        file.flush()
        error = refused(capsys, tmp_path / "busy.h5")
    assert "already open" in error or "lock" in error


def test_a_group_within_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    q, k = factors(9)
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["m/q_proj"], file["m/k_proj"] = q.reshape(-1, W), k.reshape(-1, W)
        file["m/again"] = file["m"]
    assert column(told(capsys, tmp_path / "w.h5", "--heads", H), "frobenius") == pytest.approx(norms(q, k), rel=1e-5)
