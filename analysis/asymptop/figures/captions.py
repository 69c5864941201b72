"""What each figure and table shows and how to read it."""

from __future__ import annotations


def _text(words: str) -> str:
    return " ".join(words.split())


ERROR_AXES = _text("""
    Each panel has its own range of y, each colour is one k law. Both axes are logarithmic, so a power of n is a
    straight line and its exponent is the slope.
""")
TAIL_MASS_AGAINST_N = _text("""
    Weight that top-k drops, τ_k, along every k law. A law is enough where its line falls; a line that bends up to 1
    has lost the whole row.
""")
ROW_L2_AGAINST_N = _text("""
    ℓ2 distance between a row and its renormalised top-k version. It can fall while the tail mass rises, because
    each of many entries is small: compare with the tail mass before calling a k law sufficient.
""")
ROW_LINF_AGAINST_N = "Largest error of a single entry: the most forgiving of the norms."
OUTPUT_AGAINST_N = _text("""
    Error of the attention output relative to the exact output: what a model would feel. The values V decide it: what
    is expected of it takes values that are independent of the keys.
""")
TAIL_MASS_AGAINST_K = _text("""
    Weight dropped as a function of k at the largest n. Read across at a fixed height for the k that an error needs:
    where the curves shift right by as much as n grows, k must grow like n. The curves end before k = n, where the
    error is exactly 0.
""")
ROW_L2_AGAINST_K = "ℓ2 error of a row as a function of k at the largest n, to be read like the tail mass above."
K_EPSILON_AGAINST_N = _text("""
    Smallest k whose tail mass is at most ε. A line parallel to the grey k = n needs a fixed share of the context,
    however small ε; a flat line needs a fixed number of keys.
""")
MEASURED_AND_SIMULATED = _text("""
    Points: measured over keys, mean and standard error over draws. Lines and bands: rows of independent Gaussian logits
    simulated without keys, their mean and the reach of 10 to 90% of single rows. Where points sit on the line, the keys
    of the study behave as independent ones do.
""")
NEEDED_KEYS = _text("""
    Left: the smallest k whose tail mass is at most ε (points: measured, ±1 SE; lines: i.i.d. Gaussian logits at finite
    n, averaged over the measured σ of every row; dotted: n Φc(σ + Φ⁻¹(ε)) at constant σ), with the exponent fitted over
    all n and its 95% interval. A line parallel to k = n needs a fixed share of the context. Right: the same exponents
    against c, for every ε, with the limit 1 − c²/2 of the random energy model and, dashed, the slope that i.i.d.
    Gaussian logits have over these n where all rows have this σ: finite size lifts every exponent above its limit, more
    for smaller ε, and rows whose σ differ lift it further.
""")
NEEDED_KEYS_BY_NORM = _text("""
    Keys that bring each norm of the error down to ε, row by row, interpolated between the stored k (exact for the tail
    mass); no point where a row stays above ε at every stored k (the largest of --k). A row of panels is one ε. The
    norms disagree by orders of magnitude: an ℓ2 error of 0.1 needs few keys where the tail mass needs most of the
    context.
""")
PHASE_DIAGRAM = _text("""
    Is k = n^C enough at σ = c·√(log n)? Colour is the slope of log τ_k against log n over the upper half of the
    measured n: blue falls (the tail mass vanishes), red grows. Discs are measured, white where the 95% interval of the
    slope holds 0; the field behind them is what i.i.d. Gaussian logits give at the same n. Dashed: where that slope is
    0. Solid: the boundary C = 1 − c²/2 as n grows. Between the two lines the tail mass still moves the wrong way at
    these n: the finite-size bias that fits of small studies mistake for an answer.
""")
EFFECTIVE_ENTRIES_AGAINST_N = _text("""
    Four ways to count the entries that carry a row. Rows collapse to O(1) entries where a line is flat; where it
    runs like n the row stays spread out, whatever the k law. The measures differ: a few heavy entries lower the
    participation ratio long before they lower exp(entropy).
""")
SHARE_BELOW_AGAINST_N = _text("""
    The share of a row's entries with p ≤ ε, as in figure 1 of arXiv 2404.02690. The axis counts nines, so that
    shares near 1 stay apart; its top is exactly 1. A share that tends to 1 for a fixed ε is no sign of sparsity by
    itself: entries sum to 1, so at most 1/ε of the n can exceed ε, for any σ. For ε = 1/n this bound says nothing.
""")

PRECISION_AGAINST_N = _text("""
    How far a row in narrow formats is from the same row in fp64: the mean over rows of max(x/x₆₄, x₆₄/x) − 1, which is
    the relative error where it is small and the factor where it is large, ±1 SE over draws. exp(entropy) and tail mass
    are those of p/Σp. Line styles are orders of the sum: solid one after another, dashed in blocks, dotted in pairs.
    An ∞ at the top: in some rows nothing is left, so that the factor is infinite. Errors below the axis are not shown.
""")
SELECTORS = _text("""
    Attention methods differ in which keys a query reads. Each line below keeps other keys of the same rows; “score” is
    exact top-k, which no choice of as many keys can beat. Regret is what a selector drops beyond that, recall the share
    of the best set that it keeps. Bytes and operations are per query and head, from the formulas in the last table with
    two-byte keys and values: they count what must be read, and time on a machine is something else. The sentences give
    all rows one budget, so that their mean tail mass is ε; k_ε is what each row needs by itself, on average. Estimators
    (random keys, vAttention, MagicPIG) weigh what they keep, so what they drop is not their error: that is |D̂/D − 1|.
""")
SELECTORS_NO_ORDER = _text("""
    Made keys have no order: neighbours are as unlike as any two, so that windows and pages find little here. Judge
    those on the queries and keys of a model (study --input).
""")
SELECTORS_AGAINST_KEPT = _text("""
    Tail mass against the keys that are really kept, at the largest n; open markers are the keys that the file's ε
    take, where they lie beyond the stored k. The black line is exact top-k: nothing can lie below it, and the
    distance to it is the regret. Grey: 1 − k/n, what keys at random give.
""")
SELECTORS_K_EPSILON = _text("""
    Keys that a row needs for a tail mass of at most ε, by selector; a row of panels is one ε. Black: exact top-k, the
    fewest. A line parallel to the grey k = n needs a fixed share of the context. Grey strokes are the study's own
    budgets, where they are few: where a line is above one, that budget drops more than ε. Crosses, where n covers them:
    keys at which The Sparse Frontier (arXiv 2504.17768) finds equal task error.
""")
SELECTORS_AGAINST_BYTES = _text("""
    Tail mass against the bytes that a query reads at the largest n: index, keys and values. Lower and further left
    is better. What a selector reads before it keeps a key is where its line begins; exact top-k (black) reads every
    key. Open markers lie beyond the stored k. Selectors without a formula are left out, and so is the left, where
    all drop nearly everything.
""")
PRECISION_EXPLAINED = _text("""
    Rows of independent N(0, σ²) logits, made in fp64 and turned into weights p stage by stage, each result rounded
    correctly to the stage's format (logits, differences to the largest, exponentials, their sum Z, stored p; a format
    alone is that of all stages, stages not named are fp64). fp8 is OCP E4M3, saturating, without scale factors, which
    fp8 kernels usually have. Emulated arithmetic: what a given kernel does may differ, above all in the order of its
    sums and in the width of its accumulators.
""")

SPEED_UP = _text("""
    Work per time on p ranks as a multiple of one rank's in the same run. Bars are quartiles of single rounds, in which
    every count of ranks was timed once, so that a slow moment of the machine meets all alike.
""")
EFFICIENCY = _text("""
    Speed-up over the number of ranks: T₁/(p Tₚ) where n is fixed, T₁/Tₚ where n grows with p. T₁ is the median
    time of one rank in the same run, not of the fastest serial program.
""")
PHASES = _text("""
    Means over ranks of the seconds in each phase, as a share of one rank's time T₁ (times p where n is fixed): at
    ideal scaling the height stays 1, and what is above is the price of p ranks. In “merge” ranks also wait for the
    slowest. Where scores are made within another phase its name says so. The dash is the slowest rank's time.
""")
MODEL = _text("""
    Time against ranks: measured medians with quartiles, the model fitted to all counts, and, as open circles, what
    the model says of the largest count when it is fitted to the smaller ones alone.
""")
PROJECTION = _text("""
    A projection, not measured: the fitted model at sizes and counts of ranks far beyond the data. The shaded counts
    were measured, at smaller n. Its assumptions are listed beside it.
""")

SELECTORS_SPREAD = "Means over draws, with one standard error."
BARS = "Markers are means over draws with one standard error."
BAND = "Lines are medians over heads with the band from 10% to 90% of heads."
EXPECTED = "Dashed lines are what i.i.d. Gaussian logits give at finite n, averaged over the measured σ of every row."
EXPECTED_DOTS = "Open circles are what i.i.d. Gaussian logits give at the same n and σ."
GUIDES = "Dotted lines fall like the claimed n^-C from the first point."
FORMULA = "Dotted lines are n Φc(σ + Φ⁻¹(ε)) averaged over rows, drawn where σ < √(2 log n)."
INVALID = "Crosses are INVALID cases, which enter no fit."

VERDICTS_EXPLAINED = _text("""
    An exponent is the slope of log error against log n (or log log n), by weighted least squares; its 95% interval is a
    bootstrap over draws, widened by the misfit where the line bends. A claim that an error is O(n^e) is SUPPORTED when
    the fit over all n, the fit without the smallest n and the slope between the two largest n (column “largest n”) all
    reach e or fall faster. A claim of an exponent needs intervals that hold it and no other. Where the slopes are not
    there, the known finite-size correction can carry them over at most 0.1, or a third of e: i.i.d. Gaussian logits
    must fit the means at every n within 3% or 3 standard errors, and column “corrected”, the exponent fitted with their
    finite-size behaviour divided out, must hold the claim. A larger correction leaves it UNDECIDED at these n, with the
    n at which the slope would come within 0.05 of its limit, and so does a factor that keeps growing beside the power.
    It is CONTRADICTED when the fits exclude e and, where i.i.d. Gaussian logits describe the data, the corrected
    exponent does too. “Claimed” is what the source says, “i.i.d. limit” what independent Gaussian logits give as n
    grows, computed out to n = 2^960. An UNDECIDED test counts as decided where rows simulated to larger n decide it.
    Beside each test: the largest n held out of the fit, and whether an offset or a power of log n describes the data
    better.
""")

INPUTS = _text("""
    The same claims for every input of the file, each column from the series of that input alone: ✓ supported,
    ✗ contradicted, ? undecided, – not tested; hover for the numbers. The verdicts above are those of Gaussian input.
    Where i.i.d. Gaussian logits fit another input's means at every n, their finite-size correction is used for it too.
""")

PRACTICE = _text("""
    First know your σ, the standard deviation of a row's logits: python3 -m asymptop weights FILE prints it for every
    head of a model. At a fixed σ a row spreads out as n grows, so that a fixed tail mass needs a fixed share of the
    keys; k = n^C with C < 1 is enough only while σ grows like √(log n). python3 -m asymptop advise FILE finds the best
    law for your own lengths at the cost of a fixed k.
""")
PRACTICE_EXPECTED = _text("""
    Laws that keep the mean tail mass at ε over these n, for i.i.d. Gaussian logits of a fixed σ. The share of the keys
    and exp(entropy) are those at both ends. A law is for these n: beyond them its exponent tends to 1.
""")

FITS_EXPLAINED = _text("""
    Exponents of n with bootstrap intervals over draws (2000 resamples, fixed seed; widened by the misfit where the line
    bends), and local slopes between neighbouring n with theirs. Finite-size bias is large in this problem: where the
    local slopes drift (“bends: yes”) no single exponent describes the data, and the slope at the largest n says more
    than the fit. Zeros and k = n enter no fit.
""")

# What each self-check of src/row/case_data.hpp compares; of simulated rows, which have no keys, another thing for some.
CHECKS = {
    "keys_seen": "keys that were counted against those that a row sees",
    "score_range": "scores outside the range of the bins that count them",
    "top_k_count": "keys above each row's k-th score, counted once more",
    "quantiles_settled": "k_ε and counts that the second pass left open",
    "audit_scores": "scores against fp64, two rows a draw",
    "audit_metrics": "metrics against fp64, two rows a draw",
    "sum_p": "sum of p against 1, from bins and the k best",
    "sum_p_direct": "sum of p against 1, from each key's own exponential",
    "identity_kl": "tail mass against 1 − exp(−KL(p̂‖p))",
    "identity_output": "output error against tail mass times the distance between the mean values of head and tail",
    "finite": "numbers that are infinite or none",
    "selection": "an order's keys that are not of the row, and selections better than the best",
    "output_rounding": "share of the output errors that rounding may be",
    "softcap_ties": "share of the k best that are no better than others, at the softcap",
}
CHECKS_OF_SIMULATED = {
    "score_range": "order statistics that are not in order",
    "top_k_count": "tail masses that grow with k",
    "quantiles_settled": "k_ε outside what the order statistics allow",
    "audit_metrics": "sums between order statistics, as quadrature nodes are doubled",
}

REPLICATES_EXPLAINED = _text("""
    The replicate is the draw: rows of one draw share their keys, so means are taken over rows first, and standard
    errors over draws. {draws} Expectations of i.i.d. Gaussian logits are averaged over the
    measured standard deviation σ_i of every row, since its spread alone shifts means.
""")

HEADS = _text("""
    Every head of every layer that was studied, at the largest n. Share of the keys that a row sees: one budget for all
    rows of the head, so that their mean tail mass is the one in the title. C is fitted to these budgets over all n of
    more than one draw; σ is the root mean square over rows of the standard deviation of a row's logits.
""")
HEADS_EXPLAINED = _text("""
    Keys for ε: one budget for all rows of a length, so that their mean tail mass is ε; beside it what half of the rows,
    and 95% of them, need by themselves. C is fitted to these budgets over all n, its interval a bootstrap over draws;
    “one exponent?” says no where the local slope changes with n beyond its noise, nothing where fewer than
    three n enter the fit. ≈: the stored k around these keys are over a factor of two apart, and what lies between is
    interpolated, to a few per cent: give --k laws near them. The output error is the median over
    rows at the smallest stored k that is no less than the keys for ε. Rows that see a window of w keys never need
    more than w. What the first keys weigh is the mean over rows of their share of p.
""")
