"""numba.cuda on NVIDIA's GPUs: the data and the workspace of a fit on a device, and how its kernels are launched.

As on the CPU, every sum has a fixed order, which depends neither on the device nor on the tier: the same training gives the same
bits on every run.
"""

from skbackprop.backends.cuda.device import compute_capability, unavailable_reason
from skbackprop.backends.cuda.session import Session, predict

__all__ = ["Session", "compute_capability", "predict", "unavailable_reason"]
