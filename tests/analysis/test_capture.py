"""What `capture` does without a model: options, contexts, masks, slopes, the file, its exact rows, kept layers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from asymptop import __main__ as command_line
from asymptop.capture.bands import Band, band_of, slopes_of
from asymptop.capture.environment import available_memory
from asymptop.capture.exact_rows import exact_rows
from asymptop.capture.parts import Parts
from asymptop.capture.texts import Around, Context, around, contexts, cut, identity
from asymptop.tensors.layered_file import LogitTerms, is_layered, layer_names, read_terms, write_layer
from asymptop.tensors.mapped import TensorError

SEED = int(os.environ.get("ASYMPTOP_TEST_SEED", "1"))


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line of a run that ends with 2."""
    assert command_line.main(["capture", *map(str, words)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    return told.err


# ---- options -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--lengths", "0"), "--lengths is '0'"),
        (("--lengths", "1"), "--lengths is '1', allowed is a list of sizes from 2 on"),
        (("--lengths", "2^30"), "2^30"),
        (("--layers", "3-1"), "--layers is '3-1', allowed is a list such as 0,5-7"),
        (("--layers", "all"), "--layers is 'all'"),
        (("--places", "0"), "--places is '0', allowed is a whole number from 1 on"),
        (("--dtype", "float16"), "--dtype is 'float16', allowed are float32, bfloat16"),
        (("--device", "gpu"), "--device is 'gpu', allowed are auto, cpu, cuda"),
        (("--resume", "--force"), "--force and --resume: allowed is one of them"),
        (("--text", "nowhere.txt"), "--text nowhere.txt: no such file"),
        (("-o", "."), "is a folder, allowed is the name of a file to write"),
        (("-o", "nowhere/t.h5"), "cannot be written: No such file or directory"),
        (("-o", "text.txt"), "text.txt: exists already; --force replaces it"),
        (("-o", "text.txt", "--force"), "text.txt: is an input itself, allowed is another name"),
        ((), "model: no such folder; allowed are a folder with config.json"),
    ],
)
def test_wrong_options_are_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("In the beginning", encoding="utf-8")
    usual = {"--text": "text.txt", "--lengths": "8", "-o": "t.h5"}
    left = [word for option, value in usual.items() if option not in words for word in (option, value)]
    assert reason in refused(capsys, "model", *left, *words)
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


def test_folder_without_a_configuration_names_the_file_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.txt").write_text("a", encoding="utf-8")
    (tmp_path / "small.gguf").touch()
    said = refused(capsys, tmp_path, "--text", tmp_path / "text.txt", "--lengths", 8, "-o", tmp_path / "t.h5")
    assert f"has no config.json; name the file itself: {tmp_path / 'small.gguf'}" in said


@pytest.mark.parametrize(
    ("model", "missing"), [("model", "torch"), ("model", "transformers"), ("m.gguf", "accelerate")]
)
def test_what_must_be_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: str, missing: str
) -> None:
    for name in ("torch", "transformers", "gguf", "accelerate"):
        monkeypatch.setitem(sys.modules, name, None if name == missing else os)
    (tmp_path / "model").mkdir()
    for name in ("model/config.json", "m.gguf", "text.txt"):
        (tmp_path / name).write_text("{}", encoding="utf-8")
    said = refused(capsys, tmp_path / model, "--text", tmp_path / "text.txt", "--lengths", 8, "-o", tmp_path / "t.h5")
    assert f"needs {missing}, which cannot be imported" in said
    assert ": pip install './analysis[models]'" in said
    with pytest.raises(SystemExit):
        command_line.main(["capture", "--help"])
    assert said.rstrip("\n").rsplit("): ", 1)[1] in capsys.readouterr().out


# ---- contexts ----------------------------------------------------------------------------------------------------


def letters(text: str, special: bool) -> list[int]:
    found = [ord(letter) for letter in text]
    return [1, *found, 2] if special else found


def test_special_tokens_are_seen_by_the_tokeniser() -> None:
    assert around(letters) == Around([1], [2])
    assert around(lambda text, _: letters(text, False)) == Around([], [])
    with pytest.raises(TensorError, match="other tokens"):
        around(lambda text, special: letters(text.upper() if special else text, special))


def test_contexts_are_evenly_spaced_and_whole() -> None:
    tokens = list(range(100, 200))
    found = cut("a", tokens, Around([1], [2]), 22, 5)
    assert [one.start for one in found] == [0, 20, 40, 60, 80]
    for one in found:
        assert one.tokens == [1, *range(100 + one.start, 120 + one.start), 2]
        assert one.leading == 1
    assert [one.start for one in cut("a", tokens, Around([], []), 100, 3)] == [0]
    assert cut("a", tokens, Around([1], []), 102, 1) == []
    assert cut("a", tokens, Around([1], []), 101, 1)[0].tokens == [1, *tokens]


def test_short_texts_are_left_out_with_a_line(tmp_path: Path) -> None:
    for name, size in (("long.txt", 60), ("short.txt", 7)):
        (tmp_path / name).write_text("x" * size, encoding="utf-8")
    paths = [tmp_path / "short.txt", tmp_path / "long.txt"]
    found, notes = contexts(paths, letters, 12, 2)
    assert [(one.name, one.start) for one in found] == [("long.txt", 0), ("long.txt", 50)]
    assert notes == [f"{paths[0]} has 7 tokens and 2 special ones, fewer than 12: left out"]
    _, notes = contexts(paths[1:], letters, 42, 2)
    assert notes == [f"{paths[1]} has 60 tokens: its 2 contexts of 42 overlap"]
    with pytest.raises(TensorError, match=r"no text is long enough: .*short\.txt has 7 tokens"):
        contexts(paths[:1], letters, 12, 1)
    with pytest.raises(TensorError, match="more than the 2 special tokens"):
        contexts(paths, letters, 2, 1)
    (tmp_path / "bad.txt").write_bytes(b"ab\xff")
    with pytest.raises(TensorError, match=r"bad.txt: not UTF-8 text \(invalid start byte at byte 2\)"):
        contexts([tmp_path / "bad.txt"], letters, 3, 1)


# ---- masks and slopes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [1, 2, 7, 40])
@pytest.mark.parametrize("window", [0, 1, 2, 6, 39, 40, 100])
def test_bands_are_known_by_what_rows_see(keys: int, window: int) -> None:
    seen = np.array([[j <= p and (not window or j > p - window) for j in range(keys)] for p in range(keys)])
    positions = np.arange(keys)
    expected = Band(causal=True, window=window if window < keys else 0)
    assert band_of(seen, positions) == expected
    assert np.array_equal(Band(True, window).visible(positions, keys), seen)


def test_other_masks_are_no_band() -> None:
    n = 24
    query, key = np.mgrid[0:n, 0:n]
    positions = np.arange(n)
    assert band_of(np.ones((n, n), dtype=bool), positions) == Band(causal=False)
    for seen in (
        np.abs(query - key) <= 4,  # looks ahead
        (key <= query) & (key // 8 == query // 8),  # chunks
        (key <= query) & ((key < 2) | (key > query - 5)),  # first keys and a window
        (key <= query) & (key != 3),
        key < n - 2,  # padding
        (key <= query) | (key < 3),  # a prefix
        np.zeros((n, n), dtype=bool),
    ):
        assert band_of(seen, positions) is None


def test_slopes_are_known_up_to_a_number_of_the_row() -> None:
    print(f"seed {SEED}")
    random = np.random.default_rng(SEED)
    rows, keys, slopes = [0, 5, 17, 29], 30, np.array([0.5, 0.03, 0.0])
    seen = np.arange(keys)[np.newaxis] <= np.array(rows)[:, np.newaxis]
    bias = slopes[:, np.newaxis, np.newaxis] * np.arange(keys) + random.normal(size=(3, 4, 1))
    bias[:, ~seen] = np.finfo(np.float32).min
    found = slopes_of(bias, seen)
    assert found is not None
    np.testing.assert_allclose(found, slopes, atol=1e-12)
    bent = bias.copy()
    bent[1, 3, 11] += 0.01
    assert slopes_of(bent, seen) is None
    assert slopes_of(np.where(seen, np.log1p(np.arange(keys)), 0.0)[np.newaxis], seen) is None


# ---- the file ----------------------------------------------------------------------------------------------------


def layer_tensors(
    random: np.random.Generator, heads: int, keys: int, m: int, n: int, d_v: int
) -> dict[str, np.ndarray]:
    shapes = {"Q": (heads, m, 5), "K": (keys, n, 5), "V": (keys, n, d_v)}
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def brute_force(tensors: dict[str, np.ndarray], terms: LogitTerms, row: int, head: int) -> np.ndarray:
    q, k, v = (tensors[name].astype(np.float64) for name in "QKV")
    n, at = k.shape[1], k.shape[1] - q.shape[1] + row
    shared = head // (len(q) // len(k))
    total, output = 0.0, np.zeros(v.shape[2])
    if "sinks" in terms.per_head:
        total += np.exp(terms.per_head["sinks"][head])
    for j in range(n):
        if (terms.mask == "causal" and j > at) or (terms.window and j <= at - terms.window):
            continue
        s = terms.scale * sum(q[head, row] * k[shared, j])
        if terms.softcap:
            s = terms.softcap * np.tanh(s / terms.softcap)
        if "alibi" in terms.per_head:
            s += terms.per_head["alibi"][head] * (j - at)
        total += np.exp(s)
        output += np.exp(s) * v[shared, j]
    return output / total


HEADS = 6
EACH = {"sinks": np.linspace(-1.0, 3.0, HEADS), "alibi": np.linspace(0.0, 0.7, HEADS)}


@pytest.mark.parametrize(
    "terms",
    [
        LogitTerms(0.7, "causal"),
        LogitTerms(0.7, "none"),
        LogitTerms(1.0, "causal", window=1),
        LogitTerms(1.0, "causal", softcap=0.8, window=5, attention="sliding"),
        LogitTerms(0.3, "causal", per_head={"sinks": EACH["sinks"]}),
        LogitTerms(0.3, "none", softcap=2.0, per_head=EACH),
    ],
    ids=lambda terms: f"{terms.mask}-{terms.window}-{terms.softcap}-{'-'.join(terms.per_head)}",
)
@pytest.mark.parametrize(("keys", "m", "d_v"), [(6, 23, 5), (2, 23, 3), (1, 1, 7), (3, 4, 1)])
def test_exact_rows_are_those_of_plain_loops(terms: LogitTerms, keys: int, m: int, d_v: int) -> None:
    print(f"seed {SEED}")
    tensors = layer_tensors(np.random.default_rng(SEED), HEADS, keys, m, 23, d_v)
    with h5py.File("layer", "w", driver="core", backing_store=False) as file:
        write_layer(file, 3, tensors, terms)
        rows = sorted({0, m // 2, m - 1})
        found = exact_rows(file, rows)
        again = read_terms(file)
        assert (again.scale, again.mask, again.softcap, again.window, again.attention) == (
            *(terms.scale, terms.mask, terms.softcap, terms.window, terms.attention),
        )
        assert file.attrs["layer"] == 3
        assert {name: file[name].dtype for name in "QKV"} == dict.fromkeys("QKV", np.dtype(np.float32))
    expected = np.array([[brute_force(tensors, terms, row, head) for row in rows] for head in range(HEADS)])
    np.testing.assert_allclose(found.output, expected, rtol=1e-12, atol=1e-14)
    assert found.error(expected) < 1e-13
    wrong = expected.copy()
    wrong[1, 0, 0] += 1e-3 * found.magnitude[1, 0]
    assert found.error(wrong) == pytest.approx(1e-3)
    wrong[0] = np.nan
    assert found.error(wrong) == np.inf


def test_terms_that_cannot_be_are_refused() -> None:
    for change, reason in (
        ({"mask": "prefix"}, "the mask is 'prefix', allowed are causal and none"),
        ({"mask": "none", "window": 4}, "a window of 4 keys needs the mask 'causal'"),
        ({"scale": 0.0}, "scale is 0, allowed are finite numbers over 0"),
        ({"window": -4}, "window is -4"),
        ({"softcap": -1.0}, "softcap is -1, allowed are finite numbers from 0 on"),
        ({"softcap": float("inf")}, "softcap is inf"),
        ({"per_head": {"sinks": np.array([0.0, np.nan])}}, "sinks has a number that is not finite, of head 1"),
    ):
        with pytest.raises(TensorError, match=reason):
            replace(LogitTerms(1.0, "causal"), **change)
    tensors = layer_tensors(np.random.default_rng(1), 2, 1, 4, 4, 5)
    tensors["K"][0, 2, 1] = np.inf
    with (
        h5py.File("layer", "w", driver="core", backing_store=False) as file,
        pytest.raises(TensorError, match="layer 7: K has a number that is not finite, in head 0"),
    ):
        write_layer(file, 7, tensors, LogitTerms(1.0, "causal"))


# ---- layers that are kept ----------------------------------------------------------------------------------------

CONTEXTS = [Context("a.txt", 0, [0, 1, 2, 3], 1), Context("a.txt", 9, [0, 5, 6, 7], 1)]


def writer(layer: int, text: int) -> Callable[[h5py.Group], None]:
    tensors = layer_tensors(np.random.default_rng(10 * layer + text), 2, 1, 4, 4, 3)
    return lambda group: write_layer(group, layer, tensors, LogitTerms(0.5, "causal"))


def accept(group: h5py.Group) -> None:
    assert group["Q"].shape == (2, 4, 5)


def refuse(group: h5py.Group) -> None:
    raise TensorError(f"layer {group.attrs['layer']} is wrong")


def test_layers_make_one_file(tmp_path: Path) -> None:
    parts = Parts(tmp_path / "t.h5", identity({"model": "m"}, CONTEXTS))
    parts.begin(resume=False, force=False)
    for text in (1, 0):
        for layer in (10, 2):
            assert not parts.whole(text, layer)
            parts.add(text, layer, writer(layer, text), accept)
            assert parts.whole(text, layer)
    assert not parts.finished([2, 10], 2)
    parts.assemble([2, 10], CONTEXTS, "m", "float32", {"lengths": "4"})
    assert [path.name for path in tmp_path.iterdir()] == ["t.h5"]
    assert parts.finished([2, 10], 2)
    assert not parts.finished([2], 2)
    assert not Parts(parts.output, "another").finished([2, 10], 2)
    assert is_layered(parts.output)
    with h5py.File(parts.output) as file:
        assert layer_names(file) == ["text0/layer2", "text0/layer10", "text1/layer2", "text1/layer10"]
        assert (file.attrs["tensor_format"], file.attrs["model"], file.attrs["source_dtype"]) == (2, "m", "float32")
        assert [file[f"text{i}"].attrs["start"] for i in (0, 1)] == [0, 9]
        assert [file[f"text{i}"].attrs["name"] for i in (0, 1)] == ["a.txt", "a.txt"]
        expected = layer_tensors(np.random.default_rng(101), 2, 1, 4, 4, 3)
        np.testing.assert_array_equal(file["text1/layer10/V"][()], expected["V"])


def test_a_layer_that_is_not_whole_is_not_there(tmp_path: Path) -> None:
    parts = Parts(tmp_path / "t.h5", "one")
    parts.begin(resume=False, force=False)

    def stop(group: h5py.Group) -> None:
        writer(0, 0)(group)
        raise KeyboardInterrupt

    with pytest.raises(TensorError, match="layer 0 is wrong"):
        parts.add(0, 0, writer(0, 0), refuse)
    with pytest.raises(KeyboardInterrupt):
        parts.add(0, 0, stop, accept)
    assert list(parts.folder.iterdir()) == []
    parts.add(0, 1, writer(1, 0), accept)
    (parts.folder / ".text0-layer0.h5.12.half").write_bytes(b"killed")
    (parts.folder / "notes").write_text("mine", encoding="utf-8")
    with pytest.raises(TensorError, match="holds layers of an earlier capture; --resume keeps them"):
        parts.begin(resume=False, force=False)
    with pytest.raises(TensorError, match="is of another model, text, length, type or place"):
        Parts(tmp_path / "t.h5", "two").begin(resume=True, force=False)
    assert parts.whole(0, 1)
    parts.begin(resume=True, force=False)
    assert parts.whole(0, 1)
    assert not parts.whole(0, 0)
    parts.begin(resume=False, force=True)
    assert [path.name for path in parts.folder.iterdir()] == ["notes"]


def test_captures_are_told_apart() -> None:
    facts = {"model": "m", "files": [("a", 1, 2)]}
    names = {identity(facts, CONTEXTS), identity(facts | {"model": "n"}, CONTEXTS), identity(facts, CONTEXTS[:1])}
    names |= {identity(facts, [replace(CONTEXTS[0], start=1), CONTEXTS[1]])}
    names |= {identity(facts, [replace(CONTEXTS[0], tokens=[0, 1, 2, 4]), CONTEXTS[1]])}
    assert len(names) == 5
    assert identity(dict(facts), list(CONTEXTS)) in names


# ---- memory ------------------------------------------------------------------------------------------------------


def test_available_memory_is_the_least_that_anything_says(tmp_path: Path) -> None:
    group = tmp_path / "sys/fs/cgroup/jobs/one"
    group.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    assert available_memory(tmp_path) is None
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    5000 kB\n", encoding="utf-8")
    assert available_memory(tmp_path) == 5000 * 1024
    (tmp_path / "proc/self/cgroup").write_text("0::/jobs/one\n", encoding="utf-8")
    (group / "memory.max").write_text("max\n", encoding="utf-8")
    assert available_memory(tmp_path) == 5000 * 1024
    (group.parent / "memory.max").write_text("4000000\n", encoding="utf-8")
    (group.parent / "memory.current").write_text("3000000\n", encoding="utf-8")
    (group.parent / "memory.stat").write_text("anon 7\ninactive_file 500000\n", encoding="utf-8")
    assert available_memory(tmp_path) == 1500000
    (group / "memory.max").write_text("10\n", encoding="utf-8")
    (group / "memory.current").write_text("2000000\n", encoding="utf-8")
    assert available_memory(tmp_path) == 0
