"""The formats of exported files: writing them, and running them for a comparison."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor
from torch.export import ExportedProgram

#: The key of the description in a file's metadata.
METADATA_KEY = 'vil_mm'
#: The input's name.
INPUT = 'images'
#: Runs a file: takes the images, returns the outputs in their order.
Run = Callable[[Tensor], list[Tensor]]


@dataclass(frozen=True)
class Format:
    """A format.

    Args:
        ending (str): That of the file's name.
        write (Callable): Writes a program with its description to a path.
        open (Callable): Opens the file.
        packages (tuple[str, ...]): Import names of what it needs beside
            PyTorch.
        tolerance (float): How much an output may differ from the model's,
            relative to its largest value, or to 1 if that is larger.
    """

    ending: str
    write: Callable[[ExportedProgram, Path, dict], None]
    open: Callable[[Path], Run]
    packages: tuple[str, ...] = ()
    tolerance: float = 1e-4


def write_onnx(program: ExportedProgram, path: Path, description: dict) -> None:
    """Write a program as ONNX, in a single file."""
    onnx_program = torch.onnx.export(
        program, dynamo=True, input_names=[INPUT], output_names=description['outputs'], verbose=False
    )
    onnx_program.model.metadata_props[METADATA_KEY] = json.dumps(description, default=str)
    onnx_program.save(path, external_data=False)


def onnx_to_int8(source: Path, path: Path) -> None:
    """Turn products of an ONNX file into those of int8, by ONNX Runtime's dynamic quantization.

    The weights of linear layers are int8, with one scale per output channel;
    their inputs become int8 when they are computed. Convolutions and products
    of two computed matrices keep float32.
    """
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(source, path, op_types_to_quantize=['MatMul', 'Gemm'], per_channel=True)


def open_onnx(path: Path) -> Run:
    """Open an ONNX file in ONNX Runtime, with as many threads as PyTorch."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    return lambda images: [torch.from_numpy(x) for x in session.run(None, {INPUT: images.numpy()})]


def write_pt2(program: ExportedProgram, path: Path, description: dict) -> None:
    """Write a program for ``torch.export.load``."""
    torch.export.save(program, path, extra_files={f'{METADATA_KEY}.json': json.dumps(description, default=str)})


def open_pt2(path: Path) -> Run:
    """Open a program of ``torch.export``."""
    # PyTorch's guards are about strides too, which no op of the program needs
    module = torch.export.load(path).module(check_guards=False)
    return lambda images: list(module(images).values())


def write_aoti(program: ExportedProgram, path: Path, description: dict) -> None:
    """Compile a program to machine code, for ``torch._inductor.aoti_load_package`` or LibTorch."""
    options = {'aot_inductor.metadata': {METADATA_KEY: json.dumps(description, default=str)}}
    torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=options)


def open_aoti(path: Path) -> Run:
    """Open a compiled program."""
    module = torch._inductor.aoti_load_package(str(path))
    return lambda images: list(module(images).values())


def onnx_to_openvino(source: Path, path: Path) -> None:
    """Turn an ONNX file into OpenVINO's files ``.xml`` and ``.bin``."""
    import onnx
    import openvino

    model = openvino.convert_model(source)
    for entry in onnx.load(source).metadata_props:
        model.set_rt_info(entry.value, entry.key)
    openvino.save_model(model, path, compress_to_fp16=False)


def write_through_onnx(
    convert: Callable[[Path, Path], None], program: ExportedProgram, path: Path, description: dict
) -> None:
    """Write a program as ONNX, then turn it into another format."""
    with TemporaryDirectory() as folder:
        source = Path(folder, 'model.onnx')
        write_onnx(program, source, description)
        convert(source, path)


def open_openvino(path: Path) -> Run:
    """Open OpenVINO's files, with products in float32 and as many threads as PyTorch."""
    import openvino

    settings = dict(INFERENCE_PRECISION_HINT='f32', INFERENCE_NUM_THREADS=torch.get_num_threads())
    compiled = openvino.compile_model(path, 'CPU', settings)
    # copied, because the next run writes to the same memory
    return lambda images: [torch.tensor(x) for x in compiled(images.numpy()).values()]


ONNX_PACKAGES = ('onnx', 'onnxscript', 'onnxruntime')
FORMATS = {
    'onnx': Format('.onnx', write_onnx, open_onnx, ONNX_PACKAGES),
    # it rounds, so that only nonsense can be found
    'onnx-int8': Format(
        '.int8.onnx', partial(write_through_onnx, onnx_to_int8), open_onnx, ONNX_PACKAGES, tolerance=0.2
    ),
    'pt2': Format('.pt2', write_pt2, open_pt2),
    'aoti': Format('.aoti.pt2', write_aoti, open_aoti),
    'openvino': Format(
        '.xml', partial(write_through_onnx, onnx_to_openvino), open_openvino, ('onnx', 'onnxscript', 'openvino')
    ),
}


def files_of(path: Path) -> list[Path]:
    """List the files that an exported file consists of."""
    return [path, path.with_suffix('.bin')] if path.suffix == '.xml' else [path]
