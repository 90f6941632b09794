"""tools/train.py and tools/test.py, as users run them, on the CPU."""

import os
import re
import time

import mmengine
import pytest
import torch

from tests.conftest import epochs, free_port, options, run_in_two_processes, run_tool, start_script

NANO = 'configs/vil/vil-nano_1xb64_digits.py'
SMALL = 'configs/vil/vil-small_8xb128_in1k.py'


def accuracy(output):
    return re.findall(r'accuracy/top1: ([\d.]+)', output)[-1]


def test_imagenet_recipe_trains_and_two_processes_evaluate_as_one(few_digits, tmp_path):
    overrides = options(few_digits, 4, model__backbone__arch='nano', model__head__in_channels=256)
    short = [f'{key.replace("__", ".")}={value}' for key, value in epochs(1).items()]
    run_tool('tools/train.py', SMALL, '--work-dir', tmp_path, *overrides, *short, 'param_scheduler.0.end=0.5')
    checkpoint = tmp_path / 'epoch_1.pth'
    outputs = {}
    for name, run in (('one', run_tool), ('two', run_in_two_processes)):
        words = '--work-dir', tmp_path / name, '--out', tmp_path / f'{name}.pkl', *overrides
        log = run('tools/test.py', SMALL, checkpoint, *words).stdout
        outputs[name] = accuracy(log), mmengine.load(tmp_path / f'{name}.pkl')
    assert outputs['one'][0] == outputs['two'][0]
    one, two = outputs['one'][1], outputs['two'][1]
    assert len(one) == len(two) == 23
    for first, second in zip(one, two):
        assert first['img_path'] == second['img_path']
        torch.testing.assert_close(first['pred_score'], second['pred_score'])


def test_two_processes_train(few_digits, tmp_path):
    overrides = options(few_digits, 8, default_hooks__logger__interval=1, **epochs(1))
    log = run_in_two_processes('tools/train.py', NANO, '--work-dir', tmp_path, *overrides).stdout
    assert 'Epoch(train) [1][2/2]' in log, 'each process takes half of the 32 images'
    assert (tmp_path / 'epoch_1.pth').exists()


def test_mixed_precision_on_the_cpu(few_digits, tmp_path):
    words = options(few_digits, 8, **epochs(1))
    log = run_tool('tools/train.py', NANO, '--amp', '--work-dir', tmp_path, *words).stdout
    assert 'vil_mm.CPUAmpOptimWrapper' in log
    assert (tmp_path / 'epoch_1.pth').exists()


def test_killed_run_resumes_past_a_truncated_checkpoint(few_digits, tmp_path):
    command = ['tools/train.py', NANO, '--work-dir', str(tmp_path)]
    overrides = options(few_digits, 8, default_hooks__checkpoint__max_keep_ckpts=-1, param_scheduler='None')
    run = start_script(*command, *overrides, 'train_cfg.max_epochs=1000', log=os.devnull)
    deadline = time.monotonic() + 300
    while not (tmp_path / 'epoch_4.pth').exists():
        assert run.is_alive() and time.monotonic() < deadline
        time.sleep(0.1)
    run.kill()
    run.join()

    checkpoints = sorted(tmp_path.glob('epoch_*.pth'), key=lambda path: int(path.stem.split('_')[1]))
    newest = int(checkpoints[-1].stem.split('_')[1])
    # What the kill may leave of a checkpoint that was being written.
    truncated = tmp_path / f'epoch_{newest + 1}.pth'
    data = checkpoints[-1].read_bytes()
    truncated.write_bytes(data[: len(data) // 2])

    log = run_tool(*command, '--resume', *overrides, f'train_cfg.max_epochs={newest + 2}').stdout
    assert re.search(rf'WARNING - .*{truncated.name} is damaged and was skipped', log), log[-3000:]
    # the last one that was there may have been hit by the kill as well
    resumed = int(re.search(r'resumed epoch: (\d+)', log)[1])
    assert resumed in (newest, newest - 1)
    assert f'Epoch(train) [{resumed + 1}]' in log and f'Epoch(train) [{resumed}]' not in log
    assert (tmp_path / f'epoch_{newest + 2}.pth').exists()


def test_loss_that_is_not_finite_stops_the_run(few_digits, tmp_path):
    result = run_tool(
        'tools/train.py',
        NANO,
        '--work-dir',
        tmp_path,
        *options(few_digits, 8, optim_wrapper__optimizer__lr=1e30, optim_wrapper__clip_grad='None'),
        check=False,
    )
    assert result.returncode != 0
    assert re.search(
        r'FloatingPointError: iteration \d+ \(epoch \d+\): the loss is not finite: loss=nan', result.stdout
    )


def test_a_checkpoint_that_holds_code_is_refused(few_digits, tmp_path):
    class Code:
        def __reduce__(self):
            return os.system, (f'touch {tmp_path / "ran"}',)

    torch.save(dict(state_dict={}, extra=Code()), tmp_path / 'code.pth')
    words = 'tools/test.py', NANO, tmp_path / 'code.pth', '--work-dir', tmp_path
    result = run_tool(*words, *options(few_digits, 8), check=False)
    assert result.returncode != 0 and 'holds posix.system beside tensors' in result.stdout
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize('name, words', [('train', [NANO]), ('test', [NANO, 'nano.pth'])])
def test_launchers_start_the_tool_in_two_processes(name, words, tmp_path):
    """With the environment by which the processes find each other, which :func:`run_in_two_processes` sets too."""
    interpreter = tmp_path / 'interpreter'  # of the processes, in place of one that would take long to start
    interpreter.write_text('#!/bin/sh\necho "$RANK $LOCAL_RANK $WORLD_SIZE $MASTER_ADDR $MASTER_PORT: $*"\n')
    interpreter.chmod(0o755)
    port = free_port()
    env = dict(PORT=port, PYTHON_EXEC=str(interpreter))
    log = run_tool(f'tools/dist_{name}.sh', *words, 2, '--work-dir', 'runs', env=env).stdout
    command = f'-u tools/{name}.py {" ".join(words)} --launcher pytorch --work-dir runs'
    assert sorted(re.findall(r'^\d.*', log, re.M)) == [f'{rank} {rank} 2 127.0.0.1 {port}: {command}' for rank in '01']


def test_a_process_that_dies_ends_the_others(tmp_path):
    interpreter = tmp_path / 'interpreter'
    interpreter.write_text('#!/bin/sh\n[ "$RANK" = 1 ] && kill -9 $$\nexec sleep 300\n')
    interpreter.chmod(0o755)
    begin = time.monotonic()
    env = dict(PORT=free_port(), PYTHON_EXEC=str(interpreter))
    result = run_tool('tools/dist_train.sh', NANO, 2, env=env, check=False)
    assert result.returncode == 1 and time.monotonic() - begin < 60
    assert re.search(r'rank +: 1 \(local_rank: 1\)\s+exitcode +: -9', result.stdout), result.stdout[-3000:]


@pytest.mark.parametrize(
    'words, job, codes, ends_with, started, requeued',
    [
        (['--resume', 'auto'], '', [75, 75, 0], 0, 3, False),
        (['--resume', 'auto'], '', [75, 1], 1, 2, False),
        (['--resume', 'auto'], '12', [75], 0, 1, True),
        (['--resume', 'auto'], '12', [0], 0, 1, False),
        (['--resume'], '', [75], 75, 1, False),
    ],
)
def test_slurm_queues_a_stopped_run_again(words, job, codes, ends_with, started, requeued, tmp_path):
    (tmp_path / 'codes').write_text(''.join(f'{code}\n' for code in codes))
    for name, ending in (('srun', 'code=$(head -n 1 codes); sed -i 1d codes; exit "$code"'), ('scontrol', '')):
        command = tmp_path / name
        command.write_text(f'#!/bin/bash\ncd {tmp_path}\necho "$@" >> {name}.txt\n{ending}\n')
        command.chmod(0o755)
    env = dict(PATH=f'{tmp_path}:{os.environ["PATH"]}', SLURM_JOB_ID=job)
    result = run_tool('tools/slurm_train.sh', 'part', 'job', NANO, *words, env=env, check=False)
    assert result.returncode == ends_with, result.stdout
    calls = (tmp_path / 'srun.txt').read_text().splitlines()
    assert len(calls) == started and all(call.endswith(f'{NANO} {" ".join(words)} --launcher slurm') for call in calls)
    asked = tmp_path / 'scontrol.txt'
    assert asked.exists() == requeued and (not requeued or asked.read_text() == 'requeue 12\n')


def test_usage_of_the_launchers():
    for script in ('dist_train.sh', 'dist_test.sh', 'slurm_train.sh', 'slurm_test.sh'):
        result = run_tool(f'tools/{script}', check=False)
        assert result.returncode == 2 and f'Usage: tools/{script}' in result.stdout
