"""Arrays that may exceed memory: above a limit they live in a temporary file, and pages are released after reading."""

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
        UserError: the temporary folder has too little free space.
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
    with tempfile.TemporaryFile() as file:  # The memory map outlives it; the file has no name to clean up.
        return np.memmap(file, dtype, "w+", shape=shape)


def release(array: np.ndarray) -> None:
    """Tells the system that the pages of a memory-mapped array are not needed now; does nothing for other arrays.

    Touched pages count as memory of this process until the system needs it: without this, a pass over a large array
    looks like a leak, and exceeds a memory limit. Written values stay in the file.
    """
    while array is not None:
        if isinstance(array, np.memmap) and isinstance(array._mmap, mmap.mmap):
            array._mmap.madvise(mmap.MADV_DONTNEED)
            return
        array = array.base if isinstance(array, np.ndarray) else None
