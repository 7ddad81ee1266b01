"""Whether there is an NVIDIA GPU, asked of the driver alone."""

from __future__ import annotations

import ctypes
import functools

DRIVER = "libcuda.so.1"


@functools.cache
def has_device() -> bool:
    """Whether NVIDIA's driver is there and finds a GPU.

    Reference: CUDA Driver API, cuInit and cuDeviceGetCount; both return 0 for success.
    """
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return False
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return False
    return count.value > 0
