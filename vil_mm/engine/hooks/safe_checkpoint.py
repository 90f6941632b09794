"""Checkpoints that survive a kill and a full disk."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from ...registry import HOOKS
from .. import atomic_backend  # noqa: F401  # registers it
from ..randomness import random_states
from ..resuming import INTERRUPTED, read_last_checkpoint


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """mmengine's hook, except that a checkpoint is removed only after the one that replaces it is on the disk.

    Each checkpoint is written under another name first, and holds the states of
    the random generators of all processes. ``tools/train.py`` uses this hook
    where a config names mmengine's.

    Args:
        **kwargs: As in mmengine.
    """

    backend_args: dict | None

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        local = '://' not in str(self.out_dir)
        if local and self.backend_args is None and self.file_client_args is None:
            self.backend_args = dict(backend='atomic')
        self.place: dict[str, int] = {}

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Correct the epoch or iteration, which FlexibleRunner counts one too high after a validation."""
        checkpoint['meta'].update(self.place)

    def save_interrupted(self, runner: Runner) -> None:
        """Write a checkpoint after any iteration, before a run that was told to stop ends.

        It has a name of its own, so that the next one of its kind replaces it.
        """
        self.filename_tmpl, self.by_epoch, self.max_keep_ckpts = INTERRUPTED, False, -1
        self._save_checkpoint(runner)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        meta['random_states'] = all_gather_object(random_states())
        outdated = self._note(runner, step) if self.max_keep_ckpts > 0 else None
        with self._writing(runner, meta['epoch'], meta['iter']):
            # this removes nothing, because the step is noted already
            super()._save_checkpoint_with_step(runner, step, meta)
        if outdated is not None:
            self._remove(self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(outdated)))
        if self.filename_tmpl != INTERRUPTED:
            self._remove(self.file_backend.join_path(self.out_dir, INTERRUPTED))

    def _note(self, runner: Runner, step: int) -> int | None:
        """Note a step among those whose checkpoints are kept, and return the one that it replaces."""
        if step in self.keep_ckpt_ids:
            return None
        outdated = self.keep_ckpt_ids.popleft() if len(self.keep_ckpt_ids) == self.max_keep_ckpts else None
        self.keep_ckpt_ids.append(step)
        runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        return outdated

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if not self.save_best:
            return
        before = self._best()
        # nothing is removed for a metric without a path
        self._set_best(dict.fromkeys(before))
        with self._writing(runner, runner.epoch, runner.iter):
            super()._save_best_checkpoint(runner, metrics)
        after = self._best()
        self._set_best({name: path or before[name] for name, path in after.items()})
        for name, path in before.items():
            if path and after[name] not in (None, path):
                self._remove(path)

    def _best(self) -> dict[str, str | None]:
        """Return the paths of the best checkpoints by metric, which mmengine keeps elsewhere if there is just one."""
        if len(self.key_indicators) == 1:
            return {'': self.best_ckpt_path}
        return self.best_ckpt_path_dict

    def _set_best(self, paths: dict[str, str | None]) -> None:
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = paths['']
        else:
            self.best_ckpt_path_dict = paths

    def _remove(self, path: str) -> None:
        if is_main_process() and self.file_backend.exists(path):
            remove = self.file_backend.rmtree if self.file_backend.isdir(path) else self.file_backend.remove
            remove(path)

    @contextmanager
    def _writing(self, runner: Runner, epoch: int, iteration: int) -> Iterator[None]:
        """Note where the run is, and say which checkpoint is left if one cannot be written.

        Args:
            runner (Runner): The runner.
            epoch (int): Epochs that are done.
            iteration (int): Iterations that are done. Where the best checkpoint
                is written, and then the last one anew, those of the first call
                count: FlexibleRunner changes what the second is told.

        Raises:
            RuntimeError: If it cannot be written.
        """
        before, self.place = self.place, self.place or dict(epoch=epoch, iter=iteration)
        try:
            yield
        except OSError as error:
            last = read_last_checkpoint(Path(runner.work_dir))[1]
            left = f'{last} is kept: make room, and go on with --resume' if last else 'there is no other'
            raise RuntimeError(
                f'the checkpoint after iteration {runner.iter} could not be written: {error}; {left}'
            ) from error
        finally:
            self.place = before
