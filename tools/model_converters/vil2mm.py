"""Convert a published Vision Longformer file for OpenMMLab.

A classification file becomes one of mmpretrain's ImageClassifier, with the
names ``backbone.*`` of ``vil_mm.ViL`` and ``head.fc.*`` of ``LinearClsHead``.
With ``--detector``, a whole Detectron2 file becomes one of mmdet's MaskRCNN or
RetinaNet, as the configs of this repository build them.
"""

from vil_mm.conversion.files import argument_parser, run
from vil_mm.conversion.vil import convert_state_dict
from vil_mm.conversion.vil_detector import convert_detector


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument('--detector', action='store_true', help='the file is a whole detector of Detectron2')
    args = parser.parse_args()
    if args.detector:
        run(args, convert_detector, ['model'], 'detector', 'vil')
    else:
        run(args, convert_state_dict, ['net'], 'classification', 'vil')


if __name__ == '__main__':
    main()
