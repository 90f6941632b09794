"""Draw predictions during testing."""

import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...arguments import Name, check_arguments
from ...registry import HOOKS
from ..pictures import LoadedImages, name_pictures

#: The file, beside the pictures, that names each picture and its image.
LIST = 'pictures.txt'


@HOOKS.register_module()
class DrawPredictionsHook(Hook):
    """Draw what a classifier, detector or segmenter predicts for each test image, with its library's visualizer.

    Each library has a hook for this, but they differ in where the pictures go.
    Here, each sample has a picture of its own, named as
    :func:`~vil_mm.engine.pictures.name_pictures` says. ``pictures.txt``, beside
    them, lists each picture and its image. Pictures of an earlier run are
    replaced, but no other file is.

    Args:
        out_dir (str | Path): The folder to write to.
    """

    @check_arguments
    def __init__(self, out_dir: Name | Path) -> None:
        self.out_dir = Path(out_dir)

    @master_only
    def before_test(self, runner: Runner) -> None:
        """Choose where the pictures go, and make their folders.

        If there are several processes, only the first one draws: it warns that
        pictures will be missing.

        Raises:
            ValueError: If pictures would be written into a folder of the data.
            FileExistsError: If pictures would replace other files.
            NotADirectoryError: If ``out_dir`` is a file.
        """
        if runner.world_size > 1:
            runner.logger.warning(f'{self.out_dir} will only get pictures of the images that the first process tests')
        if self.out_dir.exists() and not self.out_dir.is_dir():
            raise NotADirectoryError(f'out_dir={str(self.out_dir)!r} is a file: name a folder')
        loader = runner.test_dataloader
        self.images = LoadedImages(loader.dataset, runner.model)
        self.order = chain.from_iterable(loader.batch_sampler)
        self.paths = [loader.dataset.get_data_info(index).get('img_path') for index in range(len(loader.dataset))]
        self.names = name_pictures(self.paths)
        folders = {(self.out_dir / name).parent for name in self.names}
        self._check_folders(folders, data_folders(loader.dataset))
        self._check_files()
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)

    @master_only
    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: Sequence | None = None
    ) -> None:
        """Draw the images of a batch."""
        for sample, index in zip(outputs, self.order):
            image, target = self.images[index], self.out_dir / self.names[index]
            if self.names[index] not in self.drawn:
                with self._open_list('a') as file:
                    file.write(f'{self.names[index]}\t{self.paths[index]}\n')
            target.unlink(missing_ok=True)  # it may have become a link to another file
            if hasattr(runner.visualizer, 'visualize_cls'):  # mmpretrain's
                runner.visualizer.visualize_cls(image, sample, out_file=str(target))
            else:
                runner.visualizer.add_datasample(target.name, image, data_sample=sample, out_file=str(target))

    def _check_folders(self, folders: set[Path], data: set[str]) -> None:
        """Refuse to write into the data's folders, because the pictures would later be mistaken for data."""
        images = {os.path.dirname(path) for path in self.paths if isinstance(path, str)}
        images = set(map(os.path.realpath, images))
        for folder in folders:
            real = Path(os.path.realpath(folder))
            for home in {home for home in data if real.is_relative_to(home)} | images & {str(real)}:
                raise ValueError(
                    f'out_dir={str(self.out_dir)!r} would get pictures in {real}, which belongs to the data in {home}: '
                    'name a folder outside of it'
                )

    def _check_files(self) -> None:
        """Refuse to replace files that no earlier run has listed."""
        self.drawn = set()
        if (self.out_dir / LIST).is_file():
            with self._open_list('r') as file:
                self.drawn = {line.split('\t')[0] for line in file}
        for name in self.names:
            if name not in self.drawn and os.path.lexists(self.out_dir / name):
                raise FileExistsError(
                    f'out_dir={str(self.out_dir)!r} already holds {name}, which {LIST} does not list as a picture of '
                    'an earlier run: remove it, or name another folder'
                )

    def _open_list(self, mode: str):
        # names of files need not be valid text
        return open(self.out_dir / LIST, mode, encoding='utf-8', errors='surrogateescape')


def data_folders(dataset) -> set[str]:
    """Find the folders that hold a dataset's data, with symbolic links resolved; the dataset may be wrapped."""
    if hasattr(dataset, 'datasets'):
        return set().union(*map(data_folders, dataset.datasets))
    if hasattr(dataset, 'dataset'):
        return data_folders(dataset.dataset)
    folders = [dataset.data_root] if dataset.data_root else dataset.data_prefix.values()
    return {os.path.realpath(folder) for folder in folders if folder}
