"""CUDA backend with numba.cuda on NVIDIA GPUs: holds data and workspace of a fit on a device and launches its kernels.

As on the CPU, every sum has a fixed order, which depends neither on the device nor on the tier: the same training is
bit-identical in every run.
"""

from skbackprop.backends.cuda.device import compute_capability, unavailable_reason
from skbackprop.backends.cuda.session import Session, predict

__all__ = ["Session", "compute_capability", "predict", "unavailable_reason"]
