"""Peak memory of a stretch of work within this process, over what it held before."""

import ctypes
import gc
import sys
from collections.abc import Callable
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
MIB = 1 << 20


def start_peak() -> Callable[[], float]:
    """Give free memory back and begin; what is returned gives the peak since then, in MiB.

    The kernel keeps the peak; it is forgotten here, so that each stretch has its own. Not a number
    where the kernel is not Linux.
    """
    if sys.platform != "linux":
        return lambda: float("nan")
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # else one side would work in memory that the other left
    _RESET.write_text("5", encoding="ascii")
    before = _read("VmRSS")
    return lambda: (_read("VmHWM") - before) / MIB


def _read(name: str) -> int:
    lines = _STATUS.read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))
