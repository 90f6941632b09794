"""Turn a published ViTAEv2 or ViTAEv2*-VSA file into one of OpenMMLab.

A classification file becomes one of mmpretrain's ImageClassifier: the names
``backbone.*`` of ``vil_mm.ViTAEv2``, and ``head.fc.*`` of ``LinearClsHead``. In
a file of an mmdet detector the names of the backbone are converted, and those
of its other parts are kept: neck and heads have the same names in mmdet 3.
"""

from vil_mm.conversion.files import argument_parser, run
from vil_mm.conversion.vitae_v2 import KEYS, convert_state_dict


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument(
        '--weights',
        choices=KEYS,
        help='the moving average of the weights, or the weights alone (default: the average where there is one)',
    )
    args = parser.parse_args()
    run(args, convert_state_dict, [KEYS[args.weights]] if args.weights else list(KEYS.values()), 'ViTAEv2')


if __name__ == '__main__':
    main()
