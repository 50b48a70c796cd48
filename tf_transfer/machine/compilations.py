"""Keeps what XLA has compiled for GPUs from one process to the next, in a folder of limited size."""

import contextlib
import hashlib
import importlib.metadata
import os
from pathlib import Path

OFF = "off"
COSTS = "costs.json"
"""File of the measured costs, see `xla.Costs`, in the folder of the device."""
DRIVER = Path("/proc/driver/nvidia")
"""Where the driver of NVIDIA's GPUs tells of itself and of them."""


def cache_folder(name: str) -> Path:
    """Returns a folder of the user's cache: `$XDG_CACHE_HOME/tf_transfer/NAME`, by default below `~/.cache`."""
    # os.path: Path.expanduser raises where the user has no home.
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    return Path(os.path.expanduser(cache)) / "tf_transfer" / name


def folder_of(where: str | None) -> Path | None:
    """Returns the folder for this machine's GPUs, driver and TensorFlow; None where nothing is kept, or without a GPU.

    Args:
        where: the value of `--xla_cache`: a folder, `off`, or None for the default.
    """
    if where == OFF or not (facts := _facts()):
        return None
    base = Path(os.path.expanduser(where)) if where else cache_folder("xla")
    return base / hashlib.blake2b(facts.encode(), digest_size=8).hexdigest()


def _facts() -> str:
    """Returns what compiled code depends on: models of the GPUs, driver, TensorFlow; empty without a GPU."""
    models = []
    for file in sorted(DRIVER.glob("gpus/*/information")):
        with contextlib.suppress(OSError):
            models += [line for line in file.read_text().splitlines() if line.startswith("Model")]
    if not models:
        return ""
    driver = ""
    with contextlib.suppress(OSError):
        driver = (DRIVER / "version").read_text()
    return "\n".join([*sorted(set(models)), driver, importlib.metadata.version("tensorflow")])


def keep(where: str | None, limit: int) -> None:
    """Has XLA keep its compilations and what it tried out; to be called before TensorFlow lists its devices.

    Flags of the user's own in TF_XLA_FLAGS and XLA_FLAGS come first. A folder that cannot be made keeps nothing,
    nor does one with white space in its path, which these flags cannot hold.

    Args:
        where: see `folder_of`.
        limit: bytes; above it, what was used longest ago is removed, compilations of other GPUs included.
    """
    if (folder := folder_of(where)) is None or len(str(folder).split()) > 1:
        return
    try:
        (folder / "autotune").mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    _make_room(folder.parent, limit)
    flags = {
        "TF_XLA_FLAGS": (
            f"--tf_xla_persistent_cache_directory={folder} --tf_xla_persistent_cache_device_types=GPU "
            "--tf_xla_persistent_cache_prefix=tf_transfer"
        ),
        "XLA_FLAGS": f"--xla_gpu_per_fusion_autotune_cache_dir={folder / 'autotune'}",
    }
    for name, text in flags.items():
        own = os.environ.get(name, "")
        if "cache_dir" not in own:
            os.environ[name] = f"{own} {text}".strip()


def _make_room(folder: Path, limit: int) -> None:
    """Removes the files that were used longest ago, until the others fit."""
    files = []
    for path in folder.glob("*/*"):
        with contextlib.suppress(OSError):
            if path.suffix == ".pb":
                used = path.stat()
                files.append((max(used.st_atime, used.st_mtime), used.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= limit:
            return
        with contextlib.suppress(OSError):
            path.unlink()
        total -= size
