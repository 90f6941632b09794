"""Stop a run that gets a signal, with a checkpoint."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

import torch
from mmengine.dist import all_reduce, barrier
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from ...registry import HOOKS
from .safe_checkpoint import SafeCheckpointHook

#: What schedulers send: SIGTERM before they kill, SIGUSR1 as told by Slurm's option --signal.
SIGNALS = signal.SIGTERM, signal.SIGUSR1
#: sysexits.h's EX_TEMPFAIL, by which tools/slurm_train.sh knows that the run can go on.
EXIT_CODE = os.EX_TEMPFAIL


@HOOKS.register_module()
class StopOnSignalHook(Hook):
    """End a run that gets SIGTERM or SIGUSR1 after the current iteration, with a checkpoint and the exit code 75.

    With accumulated gradients, the run ends after the next step of the
    optimizer. It needs :class:`SafeCheckpointHook`, which is then told to
    write the checkpoint, and goes on with ``--resume``.
    """

    # after all hooks that change the state of the run
    priority = 'LOWEST'

    def __init__(self) -> None:
        self.received = 0

    def before_train(self, runner: Runner) -> None:
        """Listen to the signals, in the worker processes too, because Slurm sends them to every process of a job."""
        self.previous = {number: signal.signal(number, self._receive) for number in SIGNALS}
        for loop in (runner.train_loop, runner.val_loop):
            if loop is not None and isinstance(loop.dataloader, DataLoader):
                loop.dataloader.worker_init_fn = OutliveSignal(loop.dataloader.worker_init_fn)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = number

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Stop if any process got a signal.

        Raises:
            SystemExit: With the exit code 75.
        """
        received = torch.tensor(self.received)
        all_reduce(received, 'max')
        if not received or not runner.optim_wrapper.should_update():
            return
        hook = next((hook for hook in runner.hooks if isinstance(hook, SafeCheckpointHook)), None)
        name = signal.Signals(int(received)).name
        if hook is None:
            runner.logger.warning(f'{name}: the run ends without a checkpoint, because there is no SafeCheckpointHook')
        else:
            hook.save_interrupted(runner)
            runner.logger.warning(f'{name}: the run ends with {hook.last_ckpt}. It goes on with --resume')
        barrier()
        # a launcher may send another one to the processes that end last
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        raise SystemExit(EXIT_CODE)

    def after_train(self, runner: Runner) -> None:
        """Stop listening."""
        for number, handler in self.previous.items():
            signal.signal(number, handler)


class OutliveSignal:
    """Let a worker process of a data loader obey SIGTERM only if it comes from the process that started it.

    Args:
        init (Callable, optional): What else to call when a worker starts.
    """

    def __init__(self, init: Callable[[int], None] | None) -> None:
        self.init = init

    def __call__(self, worker: int) -> None:
        """Prepare a worker process, after it has started."""
        if self.init is not None:
            self.init(worker)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=obey_parent, daemon=True).start()


def obey_parent() -> None:
    """Wait for the parent's SIGTERM, and end this process."""
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != os.getppid():
        pass
    os._exit(0)
