"""Classification datasets in zip files."""

from collections.abc import Callable, Sequence
from pathlib import Path

from .._extras import require

require('mmpretrain')

from mmcv.transforms import LoadImageFromFile  # noqa: E402
from mmengine.fileio import list_from_file  # noqa: E402
from mmengine.registry import TRANSFORMS  # noqa: E402
from mmpretrain.datasets import BaseDataset  # noqa: E402
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES  # noqa: E402

from ..arguments import Name, Size, check_arguments  # noqa: E402
from ..registry import DATASETS, find_class  # noqa: E402
from .zip_backend import open_archive  # noqa: E402


@DATASETS.register_module()
class ZipDataset(BaseDataset):
    """Images in ``<split>.zip``, with their classes in ``<split>_map.txt``.

    Each line of the map has the name of an image in the archive, a tab (or
    spaces), and the index of its class. The whole map is checked when the
    dataset is built. Images are read in place: steps of the pipeline that load
    images from files read them in the archive. The name of this class, instead
    of ``ImageNet``, is therefore all that a classifier's config needs.

    Args:
        data_root (str | Path): Folder of the two files.
        split (str): The beginning of their names. Defaults to ``'train'``.
        num_classes (int, optional): Number of classes. Defaults to None: as
            many as ``metainfo`` names.
        metainfo (dict, optional): As in mmengine. Defaults to None: the
            classes of ImageNet-1K, or none if ``num_classes`` is another
            number.
        classes (str | Sequence[str], optional): Names of the classes, or a
            file with one name per line. Defaults to None: those in ``metainfo``.
        pipeline (Sequence): Configs of the steps. Defaults to ().
        **kwargs: Other arguments of mmpretrain's ``BaseDataset``.

    Raises:
        FileNotFoundError: If one of the files is missing.
        ValueError: If the archive or the map is damaged. The message names the
            file and the line.
    """

    @check_arguments
    def __init__(
        self,
        data_root: Name | Path,
        split: Name = 'train',
        num_classes: Size | None = None,
        metainfo: dict | None = None,
        classes: Name | Sequence[Name] | None = None,
        pipeline: Sequence[dict | Callable] = (),
        **kwargs,
    ) -> None:
        metainfo = dict(self._compat_classes(metainfo, classes))
        if 'classes' not in metainfo and num_classes in (None, len(IMAGENET_CATEGORIES)):
            metainfo['classes'] = IMAGENET_CATEGORIES
        if isinstance(metainfo.get('classes'), str):
            metainfo['classes'] = list_from_file(metainfo['classes'])
        named = len(metainfo.get('classes', ()))
        if named and num_classes not in (None, named):
            raise ValueError(f'num_classes={num_classes}, but {named} classes are named')
        self.num_classes = num_classes or named
        self.archive = Path(data_root) / f'{split}.zip'
        super().__init__(
            ann_file=str(Path(data_root) / f'{split}_map.txt'),
            metainfo=metainfo,
            data_root='',
            data_prefix='',
            pipeline=[_read_in_archive(step) for step in pipeline],
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """Read and check the map."""
        map_file = Path(self.ann_file)
        if not map_file.is_file():
            raise FileNotFoundError(f'there is no map file {map_file} for {self.archive}')
        archive = open_archive(str(self.archive))
        try:
            lines = map_file.read_text(encoding='utf-8').splitlines()
        except UnicodeDecodeError as error:
            raise ValueError(f'{map_file} is not UTF-8 text: {error}') from error
        data_list = []
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            name, _, label = line.replace('\t', ' ').strip().rpartition(' ')
            name = name.strip()
            where = f'{map_file}, line {number}: {line!r}'
            if not name or not label.isdecimal():
                raise ValueError(f'{where} must be the name of an image, a tab and the index of its class')
            if int(label) >= self.num_classes:
                raise ValueError(f'{where} has class {label}, must be 0 to {self.num_classes - 1}')
            if name not in archive:
                raise ValueError(f'{where}: {self.archive} has no file {name!r}')
            data_list.append(dict(img_path=f'{self.archive}/{name}', gt_label=int(label)))
        if not data_list:
            raise ValueError(f'{map_file} names no images')
        return data_list

    def read(self, name: str) -> bytes:
        """Read an image in the archive."""
        return open_archive(str(self.archive)).read(name)

    def stat(self, name: str) -> tuple[int, int]:
        """Return the size in bytes and the checksum of an image in the archive."""
        return open_archive(str(self.archive)).stat(name)


def _read_in_archive(step: dict | Callable) -> dict | Callable:
    """Let a step of a pipeline read in archives, if it is the config of one that loads images from files."""
    if not isinstance(step, dict):
        return step
    kind = find_class(step.get('type'), TRANSFORMS)
    reads = isinstance(kind, type) and issubclass(kind, LoadImageFromFile)
    return dict(step, backend_args=dict(backend='zip')) if reads else step
