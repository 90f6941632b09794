"""Writing files whole or not at all."""

import os
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend


@register_backend('atomic')
class AtomicBackend(LocalBackend):
    """mmengine's backend for local files, except that a write that fails or is killed leaves the old file as it was."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file under another name, make sure that it is on the disk, and rename it.

        Args:
            obj (bytes): The content.
            filepath (str | Path): The file.

        Raises:
            OSError: If it cannot be written, for example because the disk is
                full. Nothing is left of it.
        """
        part = Path(f'{filepath}.part')
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            with open(part, 'wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            part.replace(filepath)
        except OSError:
            part.unlink(missing_ok=True)
            raise
