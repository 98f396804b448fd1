"""Where a worker keeps the checkpoint of its training."""

import os
import tempfile
from pathlib import Path

__all__ = ["SECONDS_BETWEEN_CHECKPOINTS", "FileStore", "MemoryStore"]

#: Least time between two checkpoints of a training, so that short ones pay nothing.
SECONDS_BETWEEN_CHECKPOINTS = 10.0


class MemoryStore:
    """Keeps a checkpoint in the memory of the worker's process."""

    def __init__(self):
        self._content = b""

    def read(self):
        """Return the newest checkpoint, or nothing."""
        return self._content

    def write(self, content):
        """Replace the checkpoint."""
        self._content = content


class FileStore:
    """Keeps a checkpoint in a file, which outlives the worker's process.

    Parameters
    ----------
    path : str or path-like
        In a folder that only the engine and its workers write to.
    """

    def __init__(self, path):
        self._path = Path(path)

    def read(self):
        """Return the newest checkpoint; FileNotFoundError if there is none."""
        return self._path.read_bytes()

    def write(self, content):
        """Replace the checkpoint, which is whole at any moment."""
        handle, name = tempfile.mkstemp(prefix=f"{self._path.name}-", dir=self._path.parent)
        try:
            with open(handle, "wb") as file:
                file.write(content)
            os.replace(name, self._path)
        except BaseException:
            os.unlink(name)
            raise

    def remove(self):
        """Remove the checkpoint, and what was left by a process that was killed while it wrote one."""
        for path in self._path.parent.glob(f"{self._path.name}*"):
            path.unlink(missing_ok=True)
