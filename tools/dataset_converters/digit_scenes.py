"""Write scenes of handwritten digits, annotated in COCO's format (boxes and instance masks) and as label maps.

Each scene is a dark canvas with one to five of scikit-learn's digits, which have different sizes and hardly overlap.
The files are:

``{train,val}/<number>.png``             the scenes
``annotations/{train,val}.json``         COCO's format; the masks are the digits' outlines, with their holes filled
``label_maps/{train,val}/<number>.png``  0 for the background and the holes, 1 to 10 for the digits 0 to 9

Training and validation scenes are made of different scans.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
from digits import load_splits
from PIL import Image

CLASSES = [str(digit) for digit in range(10)]
SIZES = (28, 52)
INK = 80  # gray level at which a pixel begins to belong to its digit
MAX_OVERLAP = 0.05


def place(rng: np.random.Generator, count: int, canvas: int) -> list[tuple[int, int, int]]:
    """Place up to ``count`` squares that hardly overlap, each ``(x, y, size)`` in pixels, at random."""
    squares: list[tuple[int, int, int]] = []
    for _ in range(20 * count):
        size = int(rng.integers(*SIZES))
        x, y = (int(v) for v in rng.integers(0, canvas - size + 1, 2))
        shared = [
            max(0, min(x + size, a + b) - max(x, a)) * max(0, min(y + size, c + b) - max(y, c)) / min(size, b) ** 2
            for a, c, b in squares
        ]
        if all(overlap <= MAX_OVERLAP for overlap in shared):
            squares.append((x, y, size))
        if len(squares) == count:
            break
    return squares


def draw_scene(rng: np.random.Generator, scans: np.ndarray, labels: np.ndarray, canvas: int) -> tuple:
    """Draw one scene.

    Args:
        rng (np.random.Generator): The source of random numbers.
        scans (np.ndarray): ``(n, 8, 8)``, gray levels from 0 to 255, uint8.
        labels (np.ndarray): ``(n,)``, digits from 0 to 9.
        canvas (int): Height and width of the scene, in pixels.

    Returns:
        tuple: The scene and its label map, both ``(canvas, canvas)`` and uint8,
        and a list of the digits: ``(label, bounding box, area, polygons)``.
    """
    scene, label_map = (np.zeros((canvas, canvas), np.uint8) for _ in range(2))
    instances = []
    for x, y, size in place(rng, int(rng.integers(1, 6)), canvas):
        chosen = int(rng.integers(len(scans)))
        label = int(labels[chosen])
        digit = np.asarray(Image.fromarray(scans[chosen]).resize((size, size), Image.Resampling.BICUBIC))
        ink = digit >= INK
        part = np.s_[y : y + size, x : x + size]
        scene[part] = np.maximum(scene[part], digit)
        label_map[part][ink] = label + 1
        outlines, _ = cv2.findContours(ink.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        # outlines of fewer than three points are not polygons
        polygons = [(outline[:, 0] + (x, y)).astype(float) for outline in outlines if len(outline) >= 3]
        corners = np.concatenate(polygons)
        left, top = corners.min(0)
        width, height = corners.max(0) - (left, top) + 1
        area = sum(cv2.contourArea(outline) for outline in outlines)
        box = [float(value) for value in (left, top, width, height)]
        instances.append((label, box, area, [p.flatten().tolist() for p in polygons]))
    return scene, label_map, instances


def write_scenes(root: Path, split: str, count: int, canvas: int, scans: np.ndarray, labels: np.ndarray) -> None:
    """Write the scenes of a split. The same arguments give the same files.

    Raises:
        ValueError: If there are other images, which this would not overwrite.
    """
    names = [f'{number:04d}.png' for number in range(count)]
    others = sorted(path for path in root.rglob(f'{split}/*.png') if path.name not in names)
    if others:
        raise ValueError(f'{others[0].parent} holds {others[0].name}, which is not of these {count} scenes: remove it')
    rng = np.random.default_rng([int(split == 'val'), canvas])
    for folder in (root / split, root / 'label_maps' / split, root / 'annotations'):
        folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number, name in enumerate(names):
        scene, label_map, instances = draw_scene(rng, scans, labels, canvas)
        Image.fromarray(scene).convert('RGB').save(root / split / name)
        Image.fromarray(label_map).save(root / 'label_maps' / split / name)
        images.append(dict(id=number, file_name=name, height=canvas, width=canvas))
        for label, box, area, polygons in instances:
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=number,
                    category_id=label,
                    bbox=box,
                    area=area,
                    segmentation=polygons,
                    iscrowd=0,
                )
            )
    categories = [dict(id=label, name=name) for label, name in enumerate(CLASSES)]
    text = json.dumps(dict(images=images, annotations=annotations, categories=categories))
    (root / 'annotations' / f'{split}.json').write_text(text)
    print(f'{root / split}: {count} scenes of {canvas}x{canvas} pixels, {len(annotations)} digits')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--root', type=Path, default=Path('data/digit_scenes'), help='output folder (default: %(default)s)'
    )
    parser.add_argument('--size', type=int, default=128, help='height and width in pixels (default: %(default)s)')
    parser.add_argument('--num-train', type=int, default=800, help='number of training scenes (default: %(default)s)')
    parser.add_argument('--num-val', type=int, default=100, help='number of validation scenes (default: %(default)s)')
    args = parser.parse_args()
    if args.size < SIZES[1]:
        parser.error(f'--size {args.size} must be at least {SIZES[1]}, so that the largest digit fits')
    counts = dict(train=args.num_train, val=args.num_val)
    for split, count in counts.items():
        if count < 1:
            parser.error(f'--num-{split} {count} must be at least 1')
    splits = load_splits()
    for split, count in counts.items():
        try:
            write_scenes(args.root, split, count, args.size, *splits[split][1:])
        except ValueError as error:
            raise SystemExit(f'error: {error}') from error


if __name__ == '__main__':
    main()
