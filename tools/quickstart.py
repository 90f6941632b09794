"""Train a small ViL on handwritten digits and show what it learned, with the tools that users run."""

import json
import subprocess
import sys
from pathlib import Path

CONFIG = Path('configs/vil/vil-nano_1xb64_digits.py')
WORK_DIR = Path('work_dirs') / CONFIG.stem
GOAL = 97.0


def run(*command: object) -> None:
    """Print the command of a tool, and run it."""
    words = [str(word) for word in command]
    print('\n$ python ' + ' '.join(words), flush=True)
    subprocess.run([sys.executable, *words], check=True)


def newest_scalars() -> Path:
    """Find the log of losses and accuracies of the last run."""
    return max(WORK_DIR.glob('*/vis_data/scalars.json'), key=lambda path: path.stat().st_mtime)


def final_accuracy(scalars: Path) -> float:
    """Read the accuracy on held-out digits after the last epoch, in percent."""
    lines = [json.loads(line) for line in scalars.read_text().splitlines()]
    return [line['accuracy/top1'] for line in lines if 'accuracy/top1' in line][-1]


def main() -> None:
    run('tools/dataset_converters/digits.py')
    run('tools/train.py', CONFIG, '--work-dir', WORK_DIR)
    scalars = newest_scalars()
    checkpoint = Path((WORK_DIR / 'last_checkpoint').read_text().strip())
    curves, predictions = WORK_DIR / 'curves.png', WORK_DIR / 'predictions.png'
    run('tools/analysis_tools/plot_curves.py', scalars, curves)
    run('tools/visualization/show_predictions.py', CONFIG, checkpoint, predictions)

    accuracy = final_accuracy(scalars)
    print(f'\nViL has learned to read digits: {accuracy:.2f}% top-1 on 360 held-out ones after the last epoch.')
    for name, path in (('checkpoint', checkpoint), ('loss and accuracy', curves), ('predictions', predictions)):
        print(f'  {name + ":":18} {path.resolve()}')
    if accuracy < GOAL:
        raise SystemExit(f'error: {accuracy:.2f}% is less than the {GOAL:.0f}% that this recipe should reach')


if __name__ == '__main__':
    main()
