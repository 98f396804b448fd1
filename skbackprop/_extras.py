"""What to install for the parts of the package that need other libraries."""

__all__ = ["how_to_install"]

# The libraries of each extra that errors name, as pyproject.toml requires them.
_LIBRARIES = {
    "cuda": '"numba-cuda[cu13]"',
    "dask": '"dask[array,dataframe]" distributed xgboost-cpu',
    "files": "safetensors",
    "onnx": "onnx skl2onnx",
    "progress": "rich",
    "spark": "pandas pyarrow pyspark xgboost-cpu",
    "tables": "narwhals",
}


def how_to_install(extra):
    """Return the commands that install an extra, for errors.

    The package is not on the Python Package Index: ``pip install skbackprop[...]`` would fail, or install what somebody
    else has published under its name.

    Parameters
    ----------
    extra : {"cuda", "dask", "files", "onnx", "progress", "spark", "tables"}

    Returns
    -------
    commands : str
    """
    return f'pip install {_LIBRARIES[extra]}, or pip install ".[{extra}]" in the folder of skbackprop\'s sources'
