"""Put configs, tools and the model index into the wheel, where OpenMMLab's ``mim`` looks for them."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
MIM_FILES = ('configs', 'tools', 'model-index.yml')


class BuildWithMimFiles(build_py):
    """Build the Python files, and copy the others to ``vil_mm/.mim``."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib, 'vil_mm', '.mim')
        for name in MIM_FILES:
            if (ROOT / name).is_dir():
                ignore = shutil.ignore_patterns('__pycache__')
                shutil.copytree(ROOT / name, target / name, ignore=ignore, dirs_exist_ok=True)
            else:
                shutil.copy(ROOT / name, target / name)


setup(cmdclass=dict(build_py=BuildWithMimFiles))
