"""Write scikit-learn's handwritten digits as PNG files in ImageNet's folder layout.

The 1,797 scans (8x8 pixels, 17 gray levels; UCI, Kaynak and Alpaydin, 1998)
come with scikit-learn, so nothing is downloaded. Each becomes
``{train,val}/<digit>/<number>.png``, and ``meta/{train,val}.txt`` list them.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

NUM_HELD_OUT = 360


def load_splits() -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Load the numbers, gray levels (0 to 255, uint8) and digits of the scans, split for training and validation."""
    digits = load_digits()
    gray = np.round(digits.images * (255 / 16)).astype(np.uint8)
    parts = train_test_split(np.arange(len(gray)), test_size=NUM_HELD_OUT, stratify=digits.target, random_state=0)
    return {
        split: (np.sort(part), gray[np.sort(part)], digits.target[np.sort(part)])
        for split, part in zip(('train', 'val'), parts)
    }


def write_digits(root: Path, size: int) -> None:
    """Write the images.

    Args:
        root (Path): The folder to write to.
        size (int): Height and width of the images, in pixels.
    """
    (root / 'meta').mkdir(parents=True, exist_ok=True)
    for split, scans in load_splits().items():
        lines = []
        for number, gray, label in zip(*scans):
            name = f'{label}/{number:04d}.png'
            path = root / split / name
            path.parent.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(gray).resize((size, size), Image.Resampling.BICUBIC)
            image.convert('RGB').save(path)
            lines.append(f'{name} {label}')
        (root / 'meta' / f'{split}.txt').write_text('\n'.join(lines) + '\n')
        print(f'{root / split}: {len(lines)} images of {size}x{size} pixels')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--root', type=Path, default=Path('data/digits'), help='output folder (default: %(default)s)')
    parser.add_argument('--size', type=int, default=32, help='height and width in pixels (default: %(default)s)')
    args = parser.parse_args()
    if args.size < 8:
        parser.error(f'--size {args.size} must be at least 8, the size of the scans')
    write_digits(args.root, args.size)


if __name__ == '__main__':
    main()
