"""Turn a published L2ViT file into one of OpenMMLab.

A classification file becomes one of mmpretrain's ImageClassifier: the names
``backbone.*`` of ``vil_mm.L2ViT``, and ``head.fc.*`` of ``LinearClsHead``. A
detection or segmentation file becomes one of mmdet or mmsegmentation; its names
outside the backbone stay as they are.

A published classification file holds its weights twice, raw and averaged (EMA).
The averaged ones are those whose accuracy is published, and are taken where
they are there; ``--weights`` chooses.

The published classifiers of ImageNet-22K number their classes otherwise than
those of ImageNet-1K. ``--class-map`` takes the publication's map, and keeps the
head's rows of the 1000 classes: what fine-tuning starts from.
"""

from functools import partial

from vil_mm.conversion.files import argument_parser, run
from vil_mm.conversion.l2vit import KEYS, convert_state_dict, read_class_map


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument('--weights', choices=['ema', 'raw'], help='default: ema where the file has it, else raw')
    parser.add_argument('--class-map', metavar='FILE', help="the publication's custom_map22kto1k.txt")
    args = parser.parse_args()
    class_map = None
    if args.class_map:
        try:
            class_map = read_class_map(args.class_map)
        except (ValueError, FileNotFoundError) as error:
            raise SystemExit(f'error: {error}') from error
    run(args, partial(convert_state_dict, class_map=class_map), KEYS[args.weights], 'L2ViT')


if __name__ == '__main__':
    main()
