"""Arrays that may be larger than memory: in a temporary file above a limit, and let go of as they are read."""

import math
import mmap
import shutil
import tempfile

import numpy as np

from tf_transfer.errors import UserError, one_line

MEMORY_LIMIT = 1 << 29
"""Arrays above this many bytes live in a temporary file instead of in memory."""


def temporary(shape: tuple[int, ...], dtype: type = np.uint8) -> np.ndarray:
    """Returns an uninitialised array, in a temporary file where it is larger than `MEMORY_LIMIT`.

    Raises:
        UserError: the temporary folder has not enough free space.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size <= MEMORY_LIMIT:
        return np.empty(shape, dtype)
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free < size:
        raise UserError(
            f"{shape[0]} examples of {'x'.join(map(str, shape[1:]))} need {size / 1e9:.1f} GB in {one_line(folder)}, "
            f"which has {free / 1e9:.1f} GB free: set TMPDIR to a larger disk, or use smaller or fewer examples."
        )
    with tempfile.TemporaryFile() as file:  # The mapping outlives the descriptor, and the file has no name to clean up.
        return np.memmap(file, dtype, "w+", shape=shape)


def release(array: np.ndarray) -> None:
    """Tells the system that the pages of a memory-mapped array are not needed now; other arrays are left alone.

    Pages that were touched count as this process's memory until something else needs it: a pass over a large array
    would look like a leak, and be one where a limit is set. What was written stays in the file.
    """
    while array is not None:
        if isinstance(array, np.memmap) and isinstance(array._mmap, mmap.mmap):
            array._mmap.madvise(mmap.MADV_DONTNEED)
            return
        array = array.base if isinstance(array, np.ndarray) else None
