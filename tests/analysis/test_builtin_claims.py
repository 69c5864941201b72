"""builtin.toml: every claim of the package is one entry of the format that users have."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from asymptop import __main__ as command_line
from asymptop.claims.entry import KEYS
from asymptop.claims.toml_file import BUILTIN, CLAIMS, ClaimsError, claims_in
from asymptop.commands import jobs, report
from asymptop.theory import laws
from make_results import Study, write_results

TEXT = BUILTIN.read_text(encoding="utf-8")
NEW = """
[[claim]]
id = "X-new"
family = "enough"
sentence = "A new claim."
quantity = "row_l2_error"
exponent = { constant = "-C/2" }
limit = "-min(C, 2*C)/2"
"""


def changed(folder: Path, old: str, new: str) -> Path:
    assert old in TEXT
    path = folder / "claims.toml"
    path.write_text(TEXT.replace(old, new, 1), encoding="utf-8")
    return path


def test_every_entry_is_read_and_no_id_twice() -> None:
    ids = [entry["id"] for entry in tomllib.loads(TEXT)["claim"]]
    assert [claim.id for claim in CLAIMS] == ids
    assert len(set(ids)) == len(ids)


def test_a_new_claim_is_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "claims.toml").write_text(TEXT + NEW, encoding="utf-8")
    claims = claims_in(tmp_path / "claims.toml")
    assert [c.id for c in claims] == [*(c.id for c in CLAIMS), "X-new"]
    assert claims[-1].source == CLAIMS[0].source  # of its family
    assert claims[-1].claimed(0.5, laws.Regime("constant", 1.0)) == -0.25
    assert claims[-1].claimed(0.5, laws.Regime("log", 1.0)) is None
    for command in (report, jobs):
        monkeypatch.setattr(command, "CLAIMS", claims)
    path = write_results(tmp_path / "results.h5", Study(n=(256, 1024, 4096), k=("n^0.5",), draws=8))
    assert command_line.main(["report", str(path), "-o", str(tmp_path / "report.html")]) == 0
    assert 'id="claim-X-new"' in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert jobs.verdict_counts(path)[0] == 3


@pytest.mark.parametrize(
    ("old", "new", "claim", "words"),
    [
        ('family = "enough"', 'family = "none"', "claim 1 (A-tv)", "family is 'none', allowed are enough, energy"),
        ('exponent = "-C"', 'exponent = "-D"', "claim 1 (A-tv)", "exponent is '-D'"),
        ('sense = "at most"', 'sense = "below"', "claim 1 (A-tv)", "sense is 'below', allowed are at most"),
        ("limit = 0\n", "limit = true\n", "claim 1 (A-tv)", "limit is True, allowed is a formula in C, c"),
        ("tail_mass(n, k, sigma)", "tail_mass(n, k)", "claim 1 (A-tv)", "closed_form is 'tail_mass(n, k)': tail_mass"),
        ("tail_mass(n, k, sigma)", "(n, k)", "claim 1 (A-tv)", "closed_form is '(n, k)'"),
        ('upper_bound = "frob', 'upper_bound = "Frob', "claim 5 (A-spec)", "upper_bound is 'Frobenius_over_n'"),
        ("{ constant = 0, below", "{ cold = 0, below", "claim 11 (B-tv)", "limit is {'cold': 0"),
        ("one_sigma = false", "one_sigma = 0", "claim 11 (B-tv)", "one_sigma is 0, allowed are true and false"),
        ("margin = 0.05", "margin = 5", "claim 17 (C-conc-quantile)", "margin is 5, allowed is a number between 0"),
        ('thresholds = "1/n"', 'thresholds = "m"', "claim 25 (D-count)", "thresholds is ['m'], allowed is a law"),
        ('["identity_kl", "identity_output"]', "[]", "claim 27 (D-iden)", "checks is missing"),
        ('["identity_kl", "identity_output"]', "[1]", "claim 27 (D-iden)", "checks is [1], allowed is a list of words"),
        ('quantity = "p_max"\nsense', "sense", "claim 23 (D-collapse-pmax)", "quantity is missing"),
        ('id = "A-l2"', 'id = "A-tv"', "", "id 'A-tv' is taken"),
    ],
)
def test_a_broken_entry_is_named(tmp_path: Path, old: str, new: str, claim: str, words: str) -> None:
    path = changed(tmp_path, old, new)
    with pytest.raises(ClaimsError) as caught:
        claims_in(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: {claim}")
    assert words in message
    assert "\n" not in message


def test_every_key_is_in_use_or_in_the_documents() -> None:
    documents = (BUILTIN.parent / "entry.py").read_text(encoding="utf-8").split('"""')[1]
    for key in set(KEYS) - {"family", "gaussian_logits"}:
        assert key in documents, key


@pytest.mark.parametrize("text", ["n, 2", "sqrt(n, 2)", "log(1, n)", "(n, 2)", "sqrt(n,)"])
def test_laws_have_no_commas(text: str) -> None:
    with pytest.raises(laws.LawError):
        laws.evaluate(text, 1024.0)
