"""What displays share that draw numbers as colours."""

import math
from numbers import Integral

import numpy as np

__all__ = ["check_image_shape", "mosaic", "signed_kw"]


def check_image_shape(image_shape, n_pixels):
    """Raise ValueError unless an image of this height and width has so many pixels.

    Parameters
    ----------
    image_shape : object
    n_pixels : int
    """
    is_pair = isinstance(image_shape, tuple | list) and len(image_shape) == 2
    if not (is_pair and all(isinstance(size, Integral) for size in image_shape) and math.prod(image_shape) == n_pixels):
        raise ValueError(f"image_shape={image_shape!r} must be a height and a width, with {n_pixels} pixels in all")


def mosaic(rows, image_shape):
    """Arrange images in a nearly square grid, with gaps of one pixel.

    Parameters
    ----------
    rows : ndarray of shape (n_images, n_pixels)
    image_shape : tuple of (int, int)

    Returns
    -------
    image : ndarray of shape (n_lines * (height + 1) - 1, n_columns * (width + 1) - 1), float64
        NaN, which has no colour, in the gaps and where no image is left.
    """
    height, width = image_shape
    n_columns = math.ceil(math.sqrt(len(rows)))
    n_lines = math.ceil(len(rows) / n_columns)
    image = np.full((n_lines, height + 1, n_columns, width + 1), np.nan)
    for index, row in enumerate(rows):
        image[index // n_columns, :height, index % n_columns, :width] = row.reshape(height, width)
    return image.reshape(n_lines * (height + 1), -1)[:-1, :-1]


def signed_kw(values, image_kw):
    """Return keyword arguments of `imshow` that make zero white; those given come first.

    Parameters
    ----------
    values : ndarray
    image_kw : dict or None

    Returns
    -------
    keywords : dict
    """
    largest = float(np.abs(values).max(initial=0.0)) or 1.0
    return {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest, **(image_kw or {})}
