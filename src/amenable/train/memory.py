"""Freed memory stays with the process: a training step asks for the same large blocks again and again.

glibc gives large blocks back to the system at once, and each new one costs page faults and zeroing: a quarter of a
training step of a small model. Other C libraries are left as they are.

oneDNN keeps a kernel of up to 1 MB for every new shape of a matrix product, 1,024 of them, and makes one in 0.2 ms; a run whose rows change
their lengths meets new shapes for long. The KERNELS used last are enough.
"""

from __future__ import annotations

import ctypes
import os
import platform

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Parameters of mallopt(3)."""


KERNELS = 96
"""More than a step of any objective takes: 76 shapes in 600 PPO steps of a tiny model, 120 in five of a small one."""


def bound_kernels() -> None:
    """Let oneDNN keep few kernels, where it has made none yet; ONEDNN_PRIMITIVE_CACHE_CAPACITY from outside goes before."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNELS))


def keep_freed_memory() -> bool:
    """Let malloc keep what is freed, from now on, in this process; says whether the C library could be told.

    Variables such as MALLOC_TRIM_THRESHOLD_ reach the same from outside; what is set here goes before them.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    wanted = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 1 << 26}
    return all([mallopt(parameter, value) == 1 for parameter, value in wanted.items()])
