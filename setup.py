"""Build the extension, and put configs, tools and the model index where OpenMMLab's ``mim`` looks for them.

The CPU code of the extension is built if PyTorch and a C++ compiler are found, the CUDA code if nvcc and a
CUDA build of PyTorch are found too, or as ``VIL_MM_BUILD_CUDA=0|1`` says. If the CUDA code fails to build, the CPU code
is built without it. Without any, the package still installs and uses its reference implementation.
"""

import os
import shutil
import sys
import warnings
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

try:
    import torch
    from torch.utils import cpp_extension
except ImportError:
    torch = None

ROOT = Path(__file__).parent
# OpenMP is what at::parallel_for needs to use more than one thread; its library is the one that PyTorch has loaded
FLAGS = ['-O3', '-std=c++17', '-fopenmp', '-ffp-contract=fast', '-Wno-psabi']
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


def find_cuda() -> bool:
    """Tell whether to build the CUDA code, and show PyTorch the toolkit."""
    choice = os.environ.get('VIL_MM_BUILD_CUDA', '')
    if choice not in ('', '0', '1'):
        sys.exit(f'VIL_MM_BUILD_CUDA={choice!r} must be 0, 1 or not set')
    # nvcc on the PATH may be a wrapper without headers beside it
    homes = [home for home in (cpp_extension.CUDA_HOME, '/usr/local/cuda') if home]
    found = [home for home in homes if Path(home, 'include/cuda_runtime.h').exists()]
    if choice == '1' and not (found and torch.version.cuda):
        have = f'PyTorch {torch.__version__} and toolkits in {homes}'
        sys.exit(f'VIL_MM_BUILD_CUDA=1 needs a CUDA build of PyTorch and a CUDA toolkit (CUDA_HOME), but found {have}')
    if choice == '0' or not found or torch.version.cuda is None:
        return False
    cpp_extension.CUDA_HOME = found[0]
    if not torch.cuda.is_available():
        # without a GPU: all architectures that the toolkit knows, and PTX for later ones
        newest = int(torch.version.cuda.split('.')[0]) >= 13
        architectures = '7.5;8.0;8.6;8.9;9.0;10.0;12.0+PTX' if newest else '7.0;7.5;8.0;8.6;8.9;9.0+PTX'
        os.environ.setdefault('TORCH_CUDA_ARCH_LIST', architectures)
    return True


def extension(with_cuda: bool):
    """Describe the extension ``vil_mm._C``."""
    sources = ['csrc/ops.cpp', *sorted(str(path) for path in Path('csrc/cpu').glob('*.cpp'))]
    kind, arguments = cpp_extension.CppExtension, dict(cxx=FLAGS)
    if with_cuda:
        kind = cpp_extension.CUDAExtension
        arguments['nvcc'] = ['-O3', '-std=c++17']
        sources += sorted(str(path) for path in Path('csrc/cuda').glob('*') if path.suffix in ('.cpp', '.cu'))
    headers = sorted(str(path) for path in Path('csrc').rglob('*.*h'))
    return kind('vil_mm._C', sources, extra_compile_args=arguments, depends=headers)


class BuildExtensionOrWarn(cpp_extension.BuildExtension if torch else object):
    """Build the extension; if that fails, build less of it, unless it was requested (in place, or with CUDA)."""

    def run(self) -> None:
        options = dict(vars(self))  # some of which a run changes, and does not restore if it fails
        try:
            super().run()
        except Exception as error:
            vars(self).update(options)
            self.build_less(error)

    def build_less(self, error: Exception) -> None:
        """Build only the CPU code if there was more, else nothing."""
        if os.environ.get('VIL_MM_BUILD_CUDA') == '1':
            raise error
        if any(source.endswith('.cu') for source in self.extensions[0].sources):
            warnings.warn(
                f'The CUDA code of vil_mm._C was not built, only its CPU code: {error}. '
                'VIL_MM_BUILD_CUDA=0 leaves it out from the start, =1 makes this an error.',
                stacklevel=1,
            )
            vars(self.extensions[0]).update(vars(extension(with_cuda=False)))
            self.run()
        elif self.inplace and not self.editable_mode:
            raise error
        else:
            warnings.warn(
                f'vil_mm._C was not built, so the reference implementation is used: {error}',
                stacklevel=1,
            )
            # no extension is expected anymore; the distribution's own list stays, because it decides where files go
            self.extensions = []


commands = dict(build_py=BuildWithMimFiles)
if torch is None:
    if os.environ.get('VIL_MM_BUILD_CUDA') == '1':
        sys.exit('VIL_MM_BUILD_CUDA=1 needs PyTorch in the build environment: install with --no-build-isolation')
    setup(cmdclass=commands)
else:
    commands['build_ext'] = BuildExtensionOrWarn.with_options(no_python_abi_suffix=True)
    setup(cmdclass=commands, ext_modules=[extension(find_cuda())])
