"""Classify a folder of images with an exported file, by ONNX Runtime or OpenVINO alone.

Neither PyTorch nor OpenMMLab is needed, only numpy, pillow, and onnxruntime (for .onnx) or openvino (for .xml). Images
are resized and cropped as the file's metadata says. If folders are named after classes, the accuracy is printed.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

ENDINGS = {'.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp'}
METADATA_KEY = 'vil_mm'


def open_model(path: Path) -> tuple[Callable[[np.ndarray], np.ndarray], dict]:
    """Open a file.

    Returns:
        tuple[Callable, dict]: What computes the logits of images, and the
        description in the file's metadata.
    """
    if path.suffix == '.onnx':
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
        description = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        run = lambda images: session.run(None, {session.get_inputs()[0].name: images})[0]  # noqa: E731
    else:
        import openvino

        model = openvino.Core().read_model(path)
        description = model.get_rt_info(METADATA_KEY).value if model.has_rt_info(METADATA_KEY) else None
        compiled = openvino.compile_model(model, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})
        run = lambda images: compiled(images)[0]  # noqa: E731
    if description is None:
        raise ValueError(
            f'{path} has no description {METADATA_KEY!r} in its metadata: tools/deployment/export.py writes it'
        )
    return run, json.loads(description)


def check_loading(image: Image.Image, step: dict) -> Image.Image:
    """Make sure that ``LoadImageFromFile`` loads images as :func:`read_image` does."""
    if step.get('color_type', 'color') != 'color':
        raise ValueError(f"LoadImageFromFile has color_type={step['color_type']!r}, must be 'color'")
    return image


def resize_edge(image: Image.Image, step: dict) -> Image.Image:
    """Do what mmpretrain's ``ResizeEdge`` does with Pillow."""
    backend = step.get('backend', 'cv2')
    if backend != 'pillow':
        raise ValueError(f"ResizeEdge has backend={backend!r}, must be 'pillow'. Resize before and give --no-resize")
    width, height, scale, edge = *image.size, step['scale'], step.get('edge', 'short')
    if edge == 'width' or (edge == 'short' and width < height) or (edge == 'long' and width > height):
        size = scale, int(scale * height / width)
    else:
        size = int(scale * width / height), scale
    return image.resize(size, Image.Resampling[step.get('interpolation', 'bilinear').upper()])


def center_crop(image: Image.Image, step: dict) -> Image.Image:
    """Do what mmcv's ``CenterCrop`` does."""
    if step.get('auto_pad'):
        raise ValueError('CenterCrop has auto_pad=True, must be False. Pad before and give --no-resize')
    size = step['crop_size']
    width, height = (size, size) if isinstance(size, int) else size
    left, top = (max(0, round((have - want) / 2)) for have, want in zip(image.size, (width, height)))
    return image.crop((left, top, min(image.width, left + width), min(image.height, top + height)))


#: What the steps of a pipeline do with the image.
STEPS: dict[str, Callable[[Image.Image, dict], Image.Image]] = dict(
    LoadImageFromFile=check_loading,
    ResizeEdge=resize_edge,
    CenterCrop=center_crop,
    PackInputs=lambda image, step: image,
)


def read_image(path: Path, description: dict, resize: bool) -> np.ndarray:
    """Read an image as the file takes it, without the axis of the batch."""
    try:
        with Image.open(path) as file:
            if file.mode[0] in 'IF':
                raise ValueError(f'{path} has the mode {file.mode}, must have 8 bits per channel')
            # turned as OpenMMLab turns it
            image = ImageOps.exif_transpose(file).convert('RGB')
    except OSError as error:  # also if it is no image
        raise ValueError(f'{path} cannot be read: {error}') from error
    for step in description['pipeline'] if resize else ():
        name = step['type'].split('.')[-1]
        if name not in STEPS:
            raise ValueError(f'the pipeline has the step {name}, known are {list(STEPS)}. Give --no-resize')
        image = STEPS[name](image, step)
    pixels = np.asarray(image)
    if description['dynamic'] != 'size' and list(pixels.shape[:2]) != description['size']:
        height, width = description['size']
        raise ValueError(f'{path} has {image.height}x{image.width} pixels, must have {height}x{width}')
    if description['raw']:
        return pixels
    pixels = pixels[..., ::-1] if description['channels'] == 'BGR' else pixels
    mean, std = (np.array(description[name], dtype=np.float32) for name in ('mean', 'std'))
    return np.ascontiguousarray(((pixels.astype(np.float32) - mean) / std).transpose(2, 0, 1))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Turn logits into probabilities."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def classify(run: Callable, description: dict, paths: list[Path], batch_size: int, resize: bool) -> list[dict]:
    """Classify images one batch after another; those of different sizes never share one."""
    results = []
    if description['dynamic'] == 'none':
        batch_size = 1
    for start in range(0, len(paths), batch_size):
        part = paths[start : start + batch_size]
        images = [read_image(path, description, resize) for path in part]
        batches = [np.stack(images)] if len({x.shape for x in images}) == 1 else [x[None] for x in images]
        for path, scores in zip(part, np.concatenate([softmax(run(x)) for x in batches])):
            label = int(scores.argmax())
            name = description['classes'][label] if description['classes'] else str(label)
            results.append(dict(path=str(path), label=label, name=name, score=float(scores[label])))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model', type=Path, help='file of tools/deployment/export.py, .onnx or .xml')
    parser.add_argument('folder', type=Path, help='folder of images, which are searched for in its subfolders too')
    parser.add_argument('--out', type=Path, help='write all results to this .json file')
    parser.add_argument('--batch-size', type=int, default=16, help='images at once (default: %(default)s)')
    parser.add_argument('--no-resize', action='store_true', help='the images have their final size')
    args = parser.parse_args()
    if args.model.suffix not in ('.onnx', '.xml'):
        parser.error(f'{args.model} must be an .onnx or .xml file')
    if args.batch_size < 1:
        parser.error(f'--batch-size {args.batch_size} must be at least 1')
    paths = sorted(path for path in args.folder.rglob('*') if path.suffix.lower() in ENDINGS)
    if not paths:
        parser.error(f'{args.folder} holds no images')
    try:
        run, description = open_model(args.model)
        if description['task'] != 'classification':
            raise ValueError(f'{args.model} is for {description["task"]}, must be a classifier')
        results = classify(run, description, paths, args.batch_size, not args.no_resize)
    except ValueError as error:
        raise SystemExit(f'error: {error}') from error
    for result in results:
        print('{path}\t{name}\t{score:.4f}'.format(**result))
    if all(path.parent.name in (description['classes'] or ()) for path in paths):
        right = sum(path.parent.name == result['name'] for path, result in zip(paths, results))
        print(f'accuracy: {right / len(paths):.2%} of {len(paths)} images')
    if args.out:
        args.out.write_text(json.dumps(results, indent=1))


if __name__ == '__main__':
    main()
