"""The formats of exported files: writing them, and running them for a comparison."""

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor
from torch.export import ExportedProgram

#: The key of the description in a file's metadata.
METADATA_KEY = 'vil_mm'
#: The input's name.
INPUT = 'images'
#: Runs a file: takes the images, returns the outputs in their order.
Run = Callable[[Tensor], list[Tensor]]


def write_onnx(program: ExportedProgram, path: Path, description: dict) -> None:
    """Write a program as ONNX, in a single file."""
    onnx_program = torch.onnx.export(
        program, dynamo=True, input_names=[INPUT], output_names=description['outputs'], verbose=False
    )
    onnx_program.model.metadata_props[METADATA_KEY] = json.dumps(description, default=str)
    onnx_program.save(path, external_data=False)


def open_onnx(path: Path) -> Run:
    """Open an ONNX file in ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
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


def write_openvino(program: ExportedProgram, path: Path, description: dict) -> None:
    """Write a program as OpenVINO's files ``.xml`` and ``.bin``, by way of ONNX."""
    import openvino

    with TemporaryDirectory() as folder:
        write_onnx(program, Path(folder, 'model.onnx'), description)
        model = openvino.convert_model(Path(folder, 'model.onnx'))
    model.set_rt_info(json.dumps(description, default=str), METADATA_KEY)
    openvino.save_model(model, path, compress_to_fp16=False)


def open_openvino(path: Path) -> Run:
    """Open OpenVINO's files, with products in float32 whatever the processor prefers."""
    import openvino

    compiled = openvino.compile_model(path, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})
    return lambda images: [torch.from_numpy(np.array(x)) for x in compiled(images.numpy()).values()]


#: By name: the ending of the file, what writes it, and what opens it.
FORMATS: dict[str, tuple[str, Callable, Callable[[Path], Run]]] = dict(
    onnx=('.onnx', write_onnx, open_onnx),
    pt2=('.pt2', write_pt2, open_pt2),
    aoti=('.aoti.pt2', write_aoti, open_aoti),
    openvino=('.xml', write_openvino, open_openvino),
)
#: Packages that a format needs beside PyTorch, by their import names.
PACKAGES = dict(onnx=('onnx', 'onnxscript', 'onnxruntime'), pt2=(), aoti=())
PACKAGES['openvino'] = (*PACKAGES['onnx'][:2], 'openvino')
