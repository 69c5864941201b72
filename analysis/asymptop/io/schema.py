"""Names of a results file, schema version 1 (src/results/README.md): attributes, scales, datasets with their axes."""

from __future__ import annotations

SCHEMA_VERSION = 1

ROOT_TEXT = [
    "kind",
    "version",
    "git_hash",
    "date_utc",
    "command_line",
    "config_text",
    "compiler",
    "build_type",
    "compile_options",
    "kokkos_version",
    "execution_space",
    "blas",
    "blas_kernel",
    "mpi_version",
    "hdf5_version",
    "host_names",
    "rank_layout",
    "slurm",
]
ROOT_INTEGERS = ("ranks", "threads_per_rank", "seed", "block")
ROOT_NUMBERS = ("sgemm_gflops",)

CASE_TEXT = [
    *("id", "sigma_law", "input", "row_sigma", "weights", "self", "mask", "verdict", "verdict_reason"),
    *("keys", "merge", "path"),
]
CASE_INTEGERS = ("n", "d", "draws", "rows", "seed", "block", "head", "k_clipped")
CASE_NUMBERS = ("sigma", "R", "scale", "seconds_total", "seconds_pass", "gflop")

NUMBER_SCALES = ("draw", "row", "k", "epsilon")
# What keeping the k best keys leaves out, as total variation, 2-norm and largest entry of p - p_hat.
AT_K = TAIL_MASS, ROW_ERROR, LARGEST_ERROR = ("tail_mass", "row_l2_error", "row_linf_error")
TEXT_SCALES = ("threshold", "k_law", "check", "phase")

DATA = {
    "k_of_law": ("k_law",),
    "threshold_value": ("threshold",),
    "check_residual": ("check",),
    "check_tolerance": ("check",),
    "phase_seconds": ("draw", "phase"),
    **{
        name: ("draw", "row")
        for name in [
            *("row_n", "row_position", "sigma_i", "logit_mean", "logit_std", "logit_max", "log_sum_exp"),
            *("entropy_nats", "sum_p_squared", "p_max", "participation_ratio"),
        ]
    },
    **{name: ("draw", "row", "k") for name in AT_K},
    "k_epsilon": ("draw", "row", "epsilon"),
    "count_p_above": ("draw", "row", "threshold"),
}
OPTIONAL_DATA = {
    name: ("draw", "row", "k")
    for name in [
        *("output_error", "output_error_relative", "output_error_rounding", "softcap_ties"),
        *("k_counted", "k_counted_bound", "denominator_error"),
    ]
}
OF_SELECTORS = {name: ("draw", "row", "k") for name in ("kept", "regret", "recall")}
# What needs kept sets that are the first keys of an order: selectors without one have none of it.
OF_ORDERS = ("row_l2_error", "row_linf_error", "k_epsilon", "regret", "recall")
# Exact top-k, whose cases say nothing of a selector.
EXACT = "score"
# Attributes of cases made on a GPU.
OF_GPUS = ("device_peak_bytes", "device_planned_bytes")
# Attributes of cases with a target of their errors; the last is of later versions.
OF_TARGETS = {"target_se": float, "target_missed": str, "target_ended": str}
# Attributes that a case has where they say something, and what their absence says.
OPTIONAL = {
    **{"selector": EXACT, "layer": -1, "window": 0, "drop_first": 0},
    **{"contexts": "prefix", "attention": "", "softcap": 0.0, "alibi_slope": 0.0},
    **{"d_v": 0, "index_d": 0, "index_heads": 0},
}
