"""Keys with a common offset: with selectors, true scores leave it out and selectors see the file's own keys; where it
cannot be left out, and costs too many digits, a case is INVALID and says why."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from asymptop import open_results
from asymptop.io.row_checks import faults_of
from brute_force import Tensors
from command_line import assert_equal, asymptop, study, values
from failing_storage import signal_at
from model_files import ModelFile
from test_model_selectors import HEAD, NAMES, Loaded, check_case, gemma
from test_study_estimators import SEED
from test_study_selectors import COMMON

OFFSET = 1e4
# Whole numbers whose keys are nearly the same, in a product that is nearly 0: ties that the reference's fp64 breaks.
TIED = ("quantised", "quantised:int4")


def shifted(model: ModelFile, size: float, across: bool = False) -> ModelFile:
    """All keys moved by one vector, in fp64. across: queries have no part along it, so that logits stay what they were
    and a sink's logit means something beside them; fp32 products of these keys spend their digits all the same."""
    along = np.random.default_rng(62).standard_normal(model.texts[0][0].k.shape[-1])
    along /= np.linalg.norm(along)

    def moved(tensors: Tensors) -> Tensors:
        q = tensors.q.astype(np.float64)
        q = q - np.einsum("hm,d->hmd", q @ along, along) if across else q
        return replace(tensors, q=q.astype(np.float32), k=(tensors.k + size * along).astype(np.float32))

    return replace(model, texts=[{layer: moved(t) for layer, t in layers.items()} for layers in model.texts])


def scaled(model: ModelFile) -> ModelFile:
    """With a scale of logits that rounds no query: selectors look at the file's own keys with its last digits."""
    texts = [{layer: replace(t, scale=0.125) for layer, t in layers.items()} for layers in model.texts]
    return replace(model, texts=texts)


def model_of(n: int, across: bool) -> ModelFile:
    """A layer with a window, and one with a sink where logits are not moved."""
    model = scaled(gemma(np.random.default_rng([170, n]), n, 100, 2.0, (None, 2.0) if across else ()))
    return replace(model, attributes={0: {"window": 100, "attention": "sliding"}})


@pytest.mark.parametrize("across", [True, False])
def test_every_selector(across: bool, tmp_path: Path) -> None:
    """Against brute force in fp64 on the file's own keys, within what is allowed beside keys without an offset."""
    names = [name for name in NAMES if not across or name not in TIED]
    model = shifted(model_of(360, across), OFFSET, across)
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", "300", "--heads", str(HEAD), "--seed", str(SEED)]
    words += ["--rows", "2", "--draws", "1", "--k", "1,n^0.5,90,n", "--selectors", ",".join(names), *COMMON]
    with open_results(study(tmp_path / "r.h5", words)) as opened:
        assert [faults_of(case) for case in opened.cases] == [[]] * len(opened.cases)
    with h5py.File(tmp_path / "r.h5") as file:
        found = []
        for case in file["cases"].values():
            found.append(str(case.attrs.get("selector", "score")))
            # What checks allow counts the logits as they are multiplied: a few, not the offset's thousands.
            tolerance = dict(zip(case["check"].asstr()[()], case["check_tolerance"][()], strict=True))
            assert tolerance["audit_metrics"] == pytest.approx(1e-5 + 10.0 * 2.0**-24 * case.attrs["largest_logit"])
            assert case.attrs["largest_logit"] < 20.0
            if found[-1] != "score":
                check_case(Loaded(case), model, found[-1])
        assert sorted(found) == sorted(2 * names)


def test_exact_top_k_is_what_it_is_without_selectors(tmp_path: Path) -> None:
    """And nearly what it is without the offset, of keys that are rounded as those with it."""
    model = shifted(model_of(360, across=False), OFFSET)
    words = ["--n", "300", "--heads", str(HEAD), "--rows", "4", "--draws", "2", "--k", "1,n^0.5,90", *COMMON]
    with_selectors = [*words, "--selectors", "score,quest,quantised:fp32,threshold"]
    files = {}
    for name, of in (("moved", model), ("back", shifted(model, -OFFSET))):
        of.write(tmp_path / f"{name}.h5")
        files[name] = study(tmp_path / f"r-{name}.h5", ["--input", tmp_path / f"{name}.h5", *with_selectors])
    alone = study(tmp_path / "alone.h5", ["--input", tmp_path / "moved.h5", *words])
    with h5py.File(files["moved"]) as moved, h5py.File(files["back"]) as back, h5py.File(alone) as plain:
        for name, case in plain["cases"].items():
            for field in set(case) - {"phase_seconds"}:
                np.testing.assert_array_equal(moved["cases"][name][field][()], case[field][()], f"{name} {field}")
        for name, case in moved["cases"].items():
            selector = str(case.attrs.get("selector", "score"))
            if selector == "quest":
                continue
            other = back["cases"][name]
            for field in ("p_max", "entropy_nats", "tail_mass", "output_error"):
                np.testing.assert_allclose(case[field][()], other[field][()], rtol=5e-5, err_msg=f"{name} {field}")
            assert ("largest_logit" in case.attrs, "largest_logit" in other.attrs) == (True, False)
            if selector == "quantised:format=fp32":
                oracle = moved["cases"][name.replace("-quantised-format=fp32", "")]
                np.testing.assert_array_equal(case["tail_mass"][()], oracle["tail_mass"][()])


def test_same_bytes_over_ranks_storage_and_stops(failing: Path, tmp_path: Path) -> None:
    names = ("score", "quest:page=4:share=group", "quantised", "quantised:fp32", "loki", "key-diff", "expected", "pq")
    names = (*names, "infllm:block=32", "socket", "magicpig", "h2o:queries=30", "xattention:block=32:stride=8")
    names = (*names, "shard-share:P=3", "twilight", "vattention:sinks=9:recent=9", "threshold", "threshold:by=loki")
    model = shifted(model_of(700, across=True), OFFSET, across=True)
    words = ["--input", str(model.write(tmp_path / "m.h5")), "--n", "600", "--heads", str(HEAD), "--rows", "2"]
    words += [
        "--layers",
        "1",
        "--contexts",
        "prefix",
        "--draws",
        "2",
        "--k",
        "16,n^0.5",
        "--selectors",
        ",".join(names),
        *COMMON,
    ]
    one = study(tmp_path / "one.h5", words)
    assert_equal(one, study(tmp_path / "three.h5", [*words, "--keys", "streamed"], ranks=3))
    stop = signal_at(failing, ".checkpoint", 1, signal.SIGUSR1)
    stopped = [*words, "-o", tmp_path / "stopped.h5"]
    assert asymptop("study", *stopped, "--checkpoint-minutes", "0", settings=stop).code == 75
    outcome = asymptop("study", *stopped, "--resume")
    assert outcome.code == 0, str(outcome)
    assert_equal(one, tmp_path / "stopped.h5")
    assert values(one) == values(tmp_path / "stopped.h5")


@pytest.mark.parametrize(
    ("softcap", "size", "advice"),
    [
        (50.0, OFFSET, "under a softcap no vector that all keys share can be taken from them"),
        (0.0, 1e5, "take from all keys the vector that they share, if they do, or make Q or K smaller"),
    ],
)
def test_too_few_digits(softcap: float, size: float, advice: str, tmp_path: Path) -> None:
    """Weights that are off by up to some hundredths. Without a softcap a key that no row sees lies so far out that
    nothing is taken off, and logits of 10^5 allowed for such errors."""
    model = shifted(model_of(360, across=softcap > 0.0), size, across=softcap > 0.0)
    for keys in (tensors.k for layers in model.texts for tensors in layers.values()):
        keys[:, 5] *= 1.0 if softcap > 0.0 else 1.0 + 1.0 / 25.0
    model = replace(model, attributes={layer: {"softcap": softcap, "window": 100} for layer in (0, 1)}, datasets={})
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", "300", "--heads", str(HEAD), "--rows", "4", "--k", "4"]
    words += ["--contexts", "prefix", "--draws", "2"]
    with h5py.File(study(tmp_path / "r.h5", [*words, *COMMON], code=1)) as file:
        for case in file["cases"].values():
            assert case.attrs["verdict"] == "INVALID"
            assert case.attrs["verdict_reason"].startswith("audit_metrics ")
            assert case.attrs["verdict_reason"].endswith(advice)
            assert case["check_tolerance"][()].max() <= 2.0**-10


def test_products_below_the_range_of_fp32(tmp_path: Path) -> None:
    """Logits of some 1e-40 are rounded to few digits, of which no weight depends."""
    rng = np.random.default_rng(171)
    q, k = (1e-20 * rng.standard_normal((1, 200, 16)) for _ in range(2))
    tensors = Tensors(*(x.astype(np.float32) for x in (q, k, rng.standard_normal((1, 200, 16)))), 1.0)
    words = ["--input", tensors.write(tmp_path / "t.h5"), "--n", "200", "--rows", "4", "--draws", "2", "--k", "4,n"]
    with h5py.File(study(tmp_path / "r.h5", [*words, *COMMON])) as file:
        (case,) = file["cases"].values()
        np.testing.assert_allclose(case["p_max"][()], 1.0 / 200.0, rtol=1e-7)
        assert 0.0 < case["logit_max"][()].min() < 1e-38


def test_full_attention_takes_nothing_off(tmp_path: Path) -> None:
    """Its checks end where those of a study do."""
    rng = np.random.default_rng(172)
    q, k, v = (rng.standard_normal((1, 256, 16)) for _ in range(3))
    k += 1e5 / 4.0 * rng.standard_normal(16)
    tensors = Tensors((4.0 * q).astype(np.float32), k.astype(np.float32), v.astype(np.float32), 0.25)
    words = ["--input", tensors.write(tmp_path / "t.h5"), "--n", "256", "--k", "4", "-o", tmp_path / "r.h5"]
    outcome = asymptop("attend", *words)
    assert outcome.code == 1, str(outcome)
    (line,) = [line for line in outcome.stdout.splitlines() if line.startswith("  INVALID: ")]
    assert "exact_output" in line
    assert line.endswith("take from all keys the vector that they share, if they do, or make Q or K smaller")
