"""Build the extension, and put configs, tools and the model index where OpenMMLab's ``mim`` looks for them.

The CPU code of the extension is built if PyTorch and a C++ compiler are found, the CUDA code if nvcc and a
CUDA build of PyTorch are found too, or as ``VIL_MM_BUILD_CUDA=0|1`` says. If the CUDA code fails to build, the CPU code
is built without it. Without any, the package still installs and runs in plain PyTorch.

The extension uses PyTorch's stable ABI and nothing of Python's, so one build serves later versions of both.
"""

import os
import runpy
import shutil
import sys
import warnings
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

try:
    import torch
    from torch.utils import cpp_extension
except ImportError:
    torch = None

ROOT = Path(__file__).parent
NEEDS_TORCH = runpy.run_path(str(ROOT / 'vil_mm/version.py'))['EXTENSION_NEEDS_TORCH']
# the oldest PyTorch that the extension shall run with, whichever it is built with
MAJOR, MINOR = map(int, NEEDS_TORCH.split('.'))
TARGET = f'-DTORCH_TARGET_VERSION=0x{MAJOR:02x}{MINOR:02x}000000000000'
FLAGS = ['-O3', '-std=c++17', '-ffp-contract=fast', '-Wno-psabi', TARGET]
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


class WheelForAnyPython(bdist_wheel):
    """A wheel of one platform whose extension uses nothing of Python's."""

    def get_tag(self) -> tuple[str, str, str]:
        return 'py3', 'none', super().get_tag()[2]


def find_missing() -> str | None:
    """Name what the extension needs and does not find."""
    if torch is None:
        return 'PyTorch in the build environment: install with --no-build-isolation'
    if torch.__version__ < NEEDS_TORCH:
        return f'PyTorch {NEEDS_TORCH} or newer, but found {torch.__version__}'
    if os.name == 'nt':
        return 'the vector types of GCC and Clang. MSVC lacks them, and building with clang-cl is not supported yet'
    return None


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
    kind, arguments = cpp_extension.CppExtension, dict(cxx=FLAGS.copy())
    if with_cuda:
        kind = cpp_extension.CUDAExtension
        arguments['cxx'].append('-DUSE_CUDA')
        arguments['nvcc'] = ['-O3', '-std=c++17']
        sources += sorted(str(path) for path in Path('csrc/cuda').glob('*') if path.suffix in ('.cpp', '.cu'))
    headers = sorted(str(path) for path in Path('csrc').rglob('*.*h'))
    return kind('vil_mm._C', sources, extra_compile_args=arguments, depends=headers, py_limited_api=True)


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
                f'vil_mm._C was not built, so plain PyTorch serves: {error}',
                stacklevel=1,
            )
            # no extension is expected anymore; the distribution's own list stays, because it decides where files go
            self.extensions = []


commands = dict(build_py=BuildWithMimFiles)
missing = find_missing()
if missing:
    if os.environ.get('VIL_MM_BUILD_CUDA') == '1' or 'build_ext' in sys.argv:
        sys.exit(f'vil_mm._C needs {missing}')
    warnings.warn(f'vil_mm._C was not built, so plain PyTorch serves: it needs {missing}', stacklevel=1)
    setup(cmdclass=commands)
else:
    commands['build_ext'] = BuildExtensionOrWarn.with_options(no_python_abi_suffix=True)
    commands['bdist_wheel'] = WheelForAnyPython
    setup(cmdclass=commands, ext_modules=[extension(find_cuda())])
