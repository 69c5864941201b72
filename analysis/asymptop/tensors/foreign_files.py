"""Files of other formats that hold tensors: what to do with one that is not read here."""

from __future__ import annotations

from pathlib import Path

_TORCH = (
    "a file of torch.save may run code when it is read: safetensors.torch.save_file(torch.load(FILE, "
    "weights_only=True), 'model.safetensors') writes what is taken"
)
_PICKLE = "a pickle may run code when it is read: numpy.savez('tensors.npz', name=array, ...) writes what is taken"
_ADVICE = {
    **dict.fromkeys((".bin", ".pt", ".pth", ".ckpt", ".mar", ".nemo", ".distcp"), _TORCH),
    **dict.fromkeys((".pkl", ".pickle", ".joblib", ".dill"), _PICKLE),
    ".onnx": "onnx.numpy_helper.to_array of each of onnx.load(FILE).graph.initializer gives arrays for numpy.savez",
    ".zarr": "zarr.open(FILE)[NAME][:] gives an array for numpy.savez",
    ".msgpack": "flax.serialization.msgpack_restore gives arrays for numpy.savez",
    ".keras": "model.save_weights('model.weights.h5') writes what is taken",
}
_ZARR_MEMBERS = (".zgroup", ".zarray", "zarr.json")


def is_foreign(path: Path) -> bool:
    """A format that is known and not read here; a folder of zarr is one."""
    return path.suffix.lower() in _ADVICE or (path.is_dir() and any((path / name).exists() for name in _ZARR_MEMBERS))


def not_taken(path: Path, allowed: tuple[str, ...]) -> str:
    """The line that refuses a file by its name."""
    kind = path.suffix.lower()
    if path.is_dir() and kind not in _ADVICE and is_foreign(path):
        kind = ".zarr"
    advice = f"; {_ADVICE[kind]}" if kind in _ADVICE else ""
    return f"{path}: the name ends in '{path.suffix}', allowed are {', '.join(allowed)}{advice}"
