"""convert of arrays with an axis of layers or texts: a file of version 2, with the numbers of the arrays."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from asymptop.capture.exact_rows import exact_rows
from asymptop.tensors.layered_file import is_layered, layer_names, read_terms
from test_convert import assert_refused, call, tensors

N, D = 40, 5


def save(folder: Path, given: dict[str, np.ndarray]) -> Path:
    np.savez(folder / "all.npz", **given)
    return folder / "all.npz"


@pytest.mark.parametrize(("axis", "place"), [("layers", "text0/layer{}"), ("texts", "text{}/layer0")])
@pytest.mark.parametrize("kind", ["float32", "float16", "float64"])
def test_every_entry_is_a_layer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], axis: str, place: str, kind: str
) -> None:
    given = tensors((3, 4, N, D), kind)
    given |= {"K": given["K"][:, :2], "V": given["V"][:, :2]}
    output = tmp_path / "out.h5"
    assert call(save(tmp_path, given), "-o", output, "--first-axis", axis, "--mask", "causal") == 0
    told = capsys.readouterr().out
    assert f"Q 3 of (4, {N}, {D})" in told
    assert ("is rounded from float64 to float32" in told) == (kind == "float64")
    assert is_layered(output)
    with h5py.File(output) as file:
        assert layer_names(file) == [place.format(i) for i in range(3)]
        for i, name in enumerate(layer_names(file)):
            for role in "QKV":
                assert file[name][role].dtype == np.float32
                np.testing.assert_array_equal(file[name][role][()], given[role][i].astype("f4"))
            terms = read_terms(file[name])
            assert (terms.scale, terms.mask, terms.window, terms.softcap) == (D**-0.5, "causal", 0, 0.0)
            assert file[name].attrs["layer"] == (i if axis == "layers" else 0)
            assert file[name.split("/")[0]].attrs["tokens"] == N
            q, k, v = (given[role][i, head].astype("f4").astype("f8") for role, head in (("Q", 3), ("K", 1), ("V", 1)))
            p = np.exp(D**-0.5 * (k[:30] @ q[29]))
            np.testing.assert_allclose(exact_rows(file[name], [29]).output[3, 0], p @ v[:30] / p.sum(), rtol=1e-9)


def test_tokens_scale_heads_and_other_widths(tmp_path: Path) -> None:
    given = tensors((2, 4, N, D)) | {"V": tensors((2, 4, N, 3))["V"]}
    source, output = save(tmp_path, given), tmp_path / "out.h5"
    more = ("--first-axis", "layers", "--mask", "none", "--scale", "0.7")
    assert call(source, "-o", output, *more, "--tokens", "5:30", "--head", "1,3") == 0
    with h5py.File(output) as file:
        group = file["text0/layer1"]
        assert (group.attrs["scale"], group.attrs["mask"], group.attrs["first_position"]) == (0.7, "none", 5)
        np.testing.assert_array_equal(group["V"][()], given["V"][1, [1, 3], 5:30])
    ends = given | {"Q": given["Q"][:, :, -7:]}
    assert call(save(tmp_path, ends), "-o", output, *more, "--force") == 0
    with h5py.File(output) as file:
        assert file["text0/layer0/Q"].shape == (4, 7, D)
        assert file["text0"].attrs["tokens"] == N


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--first-axis", "layers"), "--mask is not given, --first-axis needs it: allowed are causal and none"),
        (("--first-axis", "layers", "--mask", "window"), "--mask is 'window', --first-axis needs it"),
        (("--first-axis", "heads", "--mask", "causal"), "--first-axis is 'heads', allowed are layers and texts"),
        (("--mask", "causal"), "--mask is 'causal', and goes with --first-axis"),
        (("--first-axis", "texts", "--mask", "none", "--batch", "0"), "and no --batch"),
    ],
)
def test_wrong_options(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], reason: str) -> None:
    assert reason in assert_refused(tmp_path, capsys, save(tmp_path, tensors((2, 4, N, D))), *words)


def test_axes_must_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--first-axis", "layers", "--mask", "none")
    given = tensors((3, 4, N, D))
    for wrong in (tensors((4, N, D)), given | {"K": given["K"][:2]}, given | {"K": given["K"][0]}):
        assert "needs four axes, the first alike" in assert_refused(tmp_path, capsys, save(tmp_path, wrong), *words)
    given["K"][2, 1, 3, 0] = np.nan
    assert "allowed are finite values" in assert_refused(tmp_path, capsys, save(tmp_path, given), *words)
