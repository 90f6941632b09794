"""Convert a published ViTAEv2 or ViTAEv2*-VSA file for OpenMMLab.

A classification file becomes one of mmpretrain's ImageClassifier, with the
names ``backbone.*`` of ``vil_mm.ViTAEv2`` and ``head.fc.*`` of
``LinearClsHead``. In the file of a detector or segmenter, only the names of the
backbone change.
"""

from vil_mm.conversion.files import argument_parser, run
from vil_mm.conversion.vitae_v2 import KEYS, convert_state_dict


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument(
        '--weights',
        choices=['ema', 'raw'],
        help='averaged (EMA) or raw weights (default: ema if the file has it, else raw)',
    )
    args = parser.parse_args()
    run(args, convert_state_dict, KEYS[args.weights], 'ViTAEv2', 'vitae_v2')


if __name__ == '__main__':
    main()
