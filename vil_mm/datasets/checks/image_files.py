"""Image files, checked by their first and last bytes."""

import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import mmcv
from PIL import Image

from .messages import some, stop, warn

PNG, JPEG = b'\x89PNG\r\n\x1a\n', b'\xff\xd8'
ENDS = {PNG: b'IEND', JPEG: b'\xff\xd9'}
#: Markers of a JPEG file's frame header, which holds the size.
FRAMES = {0xC0 + i for i in range(16)} - {0xC4, 0xC8, 0xCC}
ORIENTATION = 0x0112  # EXIF's tag
BLOCK = 4096
THREADS = 16
#: Pixels below which an image can show nothing, such as those that track visitors of a page.
TINY = 4
#: How names of images end, in lower case.
SUFFIXES = (
    *('.avif', '.bmp', '.gif', '.heic', '.jfif', '.jp2', '.jpe', '.jpeg', '.jpg'),
    *('.pgm', '.png', '.ppm', '.tif', '.tiff', '.webp'),
)


class Header(NamedTuple):
    """What is known of an image file without decoding it.

    Attributes:
        state (str): ``'missing'``, ``'damaged'`` or ``'whole'``.
        size (tuple[int, int], optional): Stored width and height, in pixels.
            None if unknown.
        orientation (int): EXIF's, from 1 (upright) to 8. From 5 on, width and
            height are swapped when the image is turned upright.
        is_jpeg (bool): Whether it is a JPEG file, whatever its name.
        fingerprint (int): The same number for files of the same content, and hardly
            ever for others. 0 if unknown.
    """

    state: str
    size: tuple[int, int] | None = None
    orientation: int = 1
    is_jpeg: bool = False
    fingerprint: int = 0

    @property
    def upright_size(self) -> tuple[int, int] | None:
        """Width and height after the image is turned upright."""
        return self.size[::-1] if self.size and self.orientation >= 5 else self.size


def check_image_files(paths: Iterable[Path], loader: str, kind: str, advice: str = '') -> list[Header]:
    """Check that image files exist and are not cut off.

    Args:
        paths (Iterable[Path]): The files.
        loader (str): Name of the data loader, for messages.
        kind (str): What they are, in the plural, for messages.
        advice (str): What to add if some are missing.

    Returns:
        list[Header]: What is known of each file.

    Raises:
        FileNotFoundError: If some are missing.
        ValueError: If some are damaged.
    """
    paths = list(paths)
    headers: list[Header] = [Header('missing')] * len(paths)
    with ThreadPoolExecutor(THREADS) as pool:  # each reads every 16th, since a task per file would take longer
        parts = pool.map(lambda part: list(map(read_header, part)), [paths[i::THREADS] for i in range(THREADS)])
        for i, part in enumerate(parts):
            headers[i::THREADS] = part
    missing, damaged = (
        [path for path, header in zip(paths, headers) if header.state == state] for state in ('missing', 'damaged')
    )
    if missing:
        raise FileNotFoundError(f'{loader}: {len(missing)} of {len(paths)} {kind} are missing; {some(missing)}{advice}')
    cause = 'they are empty, cut off or of an unknown format'
    stop(loader, damaged, f'of {len(paths)} {kind} are damaged', cause)
    tiny = [path for path, header in zip(paths, headers) if header.size and min(header.size) < TINY]
    warn(loader, tiny, f'of {len(paths)} {kind} are less than {TINY} pixels wide or high')
    return headers


def spread(items: Sequence, count: int) -> list:
    """Choose up to ``count`` items, evenly spread."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def read_header(path: Path) -> Header:
    """Read what an image file tells in its first and last bytes, and decode it only if they tell too little.

    Args:
        path (Path): The file.

    Returns:
        Header: What is known. A file whose name does not end as an image's,
        such as an array, counts as whole.
    """
    try:
        file = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return Header('missing')
    try:
        start = os.pread(file, BLOCK, 0)
        length = os.fstat(file).st_size
        end = os.pread(file, 64, max(0, length - 64))
        fingerprint = hash((length, start, end))
        known = next((format_ for format_ in ENDS if start.startswith(format_)), None)
        if known and ENDS[known] in end:
            size, has_exif = read_png(start) if known == PNG else read_jpeg(file, start)
            if size:
                return Header('whole', size, read_orientation(path) if has_exif else 1, known == JPEG, fingerprint)
    except IsADirectoryError:
        return Header('missing')
    finally:
        os.close(file)
    suffix = path.suffix.lower()
    if start and not known and suffix not in ('.png', '.jpg', '.jpeg'):
        try:
            with Image.open(path) as image:
                size, is_tiff = image.size, image.format == 'TIFF'
            orientation = 1 if is_tiff else read_orientation(path)  # TIFF files are always read upright
            return Header('whole', size, orientation, fingerprint=fingerprint)
        except Exception:  # Pillow raises many kinds
            if suffix not in Image.registered_extensions():
                return Header('whole')
    # cut off, of another format than its name says, or with bytes after its end, which readers accept
    content = path.read_bytes()
    image = mmcv.imfrombytes(content, flag='unchanged') if content else None
    if image is None:
        return Header('damaged')
    return Header('whole', image.shape[1::-1], is_jpeg=known == JPEG, fingerprint=fingerprint)


def read_png(start: bytes) -> tuple[tuple[int, int], bool]:
    """Read width and height of a PNG file, and whether it may have EXIF data."""
    return struct.unpack('>II', start[16:24]), b'eXIf' in start


def read_jpeg(file: int, start: bytes) -> tuple[tuple[int, int] | None, bool]:
    """Read width and height of a JPEG file, and whether it has EXIF data.

    Args:
        file (int): Descriptor of the open file.
        start (bytes): The first bytes.

    Returns:
        tuple: Width and height, None where the segments before them are
        damaged, and whether there is EXIF data.
    """
    position, has_exif = len(JPEG), False
    while True:
        segment = start[position : position + 10]
        if len(segment) < 10:
            segment = os.pread(file, 10, position)
        if len(segment) < 10 or segment[0] != 0xFF:
            return None, has_exif
        marker, length, name = segment[1], int.from_bytes(segment[2:4], 'big'), segment[4:8]
        if marker in FRAMES:
            height, width = struct.unpack('>HH', segment[5:9])
            return (width, height), has_exif
        has_exif |= marker == 0xE1 and name == b'Exif'
        position += 1 if marker == 0xFF else 2 + length  # bytes of 0xFF may fill up the space before a marker


def read_orientation(path: Path) -> int:
    """Read EXIF's orientation, which is 1 (upright) where there is none or it is damaged, as for readers."""
    try:
        with Image.open(path) as image:
            orientation = image.getexif().get(ORIENTATION)
    except Exception:  # Pillow raises many kinds
        return 1
    return orientation if orientation in range(1, 9) else 1


def walk_files(folder: str | Path) -> Iterator[str]:
    """List the files in a folder and in those within it, except for hidden files, which the libraries leave out."""
    for parent, _, names in os.walk(folder, followlinks=True):
        yield from (os.path.join(parent, name) for name in names if not name.startswith('.'))
