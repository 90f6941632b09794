"""Convert a published DWNet or Dynamic-DWNet file for OpenMMLab.

A classification file becomes one of mmpretrain's ImageClassifier, with the
names ``backbone.*`` of ``vil_mm.DWNet`` and ``head.fc.*`` of ``LinearClsHead``.
It holds a settings object of yacs beside its tensors: ``--allow
yacs.config.CfgNode`` admits it, whether yacs is installed or not. In the file
of a detector or segmenter, only the names of the backbone change.
"""

from vil_mm.conversion.dwnet import KEYS, convert_state_dict
from vil_mm.conversion.files import argument_parser, run


def main() -> None:
    run(argument_parser(__doc__).parse_args(), convert_state_dict, KEYS, 'DWNet', 'dwnet')


if __name__ == '__main__':
    main()
