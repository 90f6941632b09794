"""Reading files in zip archives in place."""

import io
import os
import re
import zipfile
from functools import cache
from pathlib import Path

from mmengine.fileio import BaseStorageBackend, register_backend

from ..arguments import Name, check_arguments


class SharedFile(io.RawIOBase):
    """A file with a read position of its own in each process, so that forked processes do not disturb each other.

    Args:
        path (str | Path): The file.
    """

    @check_arguments
    def __init__(self, path: Name | Path) -> None:
        super().__init__()
        self._file = os.open(path, os.O_RDONLY)
        self._size = os.fstat(self._file).st_size
        self._position = 0

    def readable(self) -> bool:
        """Tell that the file can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that the file can be read from any position."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position, and return it."""
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        return self._position

    def readinto(self, buffer) -> int:
        """Read into ``buffer``, and return the number of bytes."""
        data = os.pread(self._file, len(buffer), self._position)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            os.close(self._file)
        super().close()


class ZipArchive:
    """A zip archive that many processes can read at once. Its directory is read once, before they fork.

    Args:
        path (str | Path): The archive.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged. The message names it.
    """

    @check_arguments
    def __init__(self, path: Name | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f'there is no zip file {self.path}')
        try:
            self._zip = zipfile.ZipFile(SharedFile(self.path))
        except PermissionError:
            raise
        except Exception as error:  # zipfile raises many kinds on damaged files
            raise ValueError(f'{self.path} is damaged or not a zip file: {error}') from error

    def __reduce__(self) -> tuple:
        return type(self), (self.path,)

    def __contains__(self, name: str) -> bool:
        return name in self._zip.NameToInfo

    def stat(self, name: str) -> tuple[int, int]:
        """Return the size in bytes and the checksum of a file of the archive."""
        info = self._zip.getinfo(name)
        return info.file_size, info.CRC

    def read(self, name: str) -> bytes:
        """Read a file of the archive.

        Raises:
            FileNotFoundError: If the archive has no file ``name``.
            ValueError: If it is damaged. The message names archive and file.
        """
        if name not in self:
            raise FileNotFoundError(f'{self.path} has no file {name!r}')
        try:
            return self._zip.read(name)
        except Exception as error:
            raise ValueError(f'{self.path}: {name!r} is damaged: {error}') from error


@cache
def open_archive(path: str) -> ZipArchive:
    """Open an archive once for this process and the ones forked from it; arguments and errors as of the class."""
    return ZipArchive(path)


@register_backend('zip')
class ZipBackend(BaseStorageBackend):
    """Storage backend of mmengine in which ``images.zip/n01/x.jpg`` is the file ``n01/x.jpg`` in ``images.zip``.

    ``LoadImageFromFile(backend_args=dict(backend='zip'))`` uses it to read the
    images of :class:`ZipDataset`.
    """

    def get(self, filepath: str | Path) -> bytes:
        """Read a file.

        Raises:
            FileNotFoundError: If there is no such archive, or no such file in it.
            ValueError: If ``filepath`` does not name a zip file, or the archive
                or the file is damaged.
        """
        path = str(filepath)
        ends = [match.end() for match in re.finditer(r'\.zip/', path)]
        if not ends:
            raise ValueError(f'filepath={path!r} must name a zip file and a file in it: archive.zip/name')
        end = next((end for end in ends if Path(path[: end - 1]).is_file()), ends[0])  # folders may be named so too
        return open_archive(path[: end - 1]).read(path[end:])

    def get_text(self, filepath: str | Path, encoding: str = 'utf-8') -> str:
        """Read a text file; errors as for :meth:`get`."""
        return self.get(filepath).decode(encoding)
