"""Convert a published L2ViT file for OpenMMLab.

A classification file becomes one of mmpretrain's ImageClassifier, with the
names ``backbone.*`` of ``vil_mm.L2ViT`` and ``head.fc.*`` of ``LinearClsHead``.
In the file of a detector or segmenter, only the names of the backbone change.

A published classification file holds its weights twice, raw and averaged (EMA).
The published accuracy is that of the averaged weights, which are taken if the
file has them; ``--weights`` chooses.

The published classifiers of ImageNet-22K number their classes differently than
those of ImageNet-1K. ``--class-map`` takes the publication's map and keeps the
head's rows of the 1000 classes, as a starting point for fine-tuning.
"""

from vil_mm.conversion.files import argument_parser, run
from vil_mm.conversion.l2vit import KEYS, convert_state_dict, read_class_map


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument('--weights', choices=['ema', 'raw'], help='default: ema if the file has it, else raw')
    parser.add_argument('--class-map', metavar='FILE', help="the publication's custom_map22kto1k.txt")
    args = parser.parse_args()

    def convert(published):
        return convert_state_dict(published, read_class_map(args.class_map) if args.class_map else None)

    run(args, convert, KEYS[args.weights], 'L2ViT', 'l2vit')


if __name__ == '__main__':
    main()
