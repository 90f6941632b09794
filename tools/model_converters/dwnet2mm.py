"""Turn a published DWNet or Dynamic-DWNet file into one of OpenMMLab.

A classification file becomes one of mmpretrain's ImageClassifier: the names
``backbone.*`` of ``vil_mm.DWNet``, and ``head.fc.*`` of ``LinearClsHead``. It
holds a settings object of yacs beside its tensors: ``--allow
yacs.config.CfgNode``, with or without yacs. In a detector or a segmentor, the
backbone's names alone change.
"""

from vil_mm.conversion.dwnet import KEYS, convert_state_dict
from vil_mm.conversion.files import argument_parser, run


def main() -> None:
    run(argument_parser(__doc__).parse_args(), convert_state_dict, KEYS, 'DWNet')


if __name__ == '__main__':
    main()
