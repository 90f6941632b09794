"""Convert a file of Swin Transformer, official or of OpenMMLab, for ``vil_mm.SwinVSA``.

The names become ``backbone.*`` of ``vil_mm.SwinVSA`` and ``head.fc.*`` of
mmpretrain's ``LinearClsHead``. In the file of a detector or segmenter, only the
names of the backbone change. Predictions of windows and position encodings,
which Swin lacks, are added as zeros, so that fine-tuning starts from Swin's
windows, without their shift.
"""

from vil_mm.conversion.files import argument_parser, run
from vil_mm.conversion.swin import KEYS, convert_state_dict


def main() -> None:
    run(argument_parser(__doc__).parse_args(), convert_state_dict, KEYS, 'Swin Transformer', 'swin_vsa')


if __name__ == '__main__':
    main()
