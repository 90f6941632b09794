"""Read compiled GPU code: what it needs, and the instructions of the loop that does the work."""

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import networkx as nx
from triton import knobs

_SASS = re.compile(r'/\*([0-9a-f]{4,})\*/\s+(@!?U?P\w+\s+)?([A-Z][\w.]*)\s*([^;]*?)\s*;')
_USAGE = re.compile(r'Function (\S+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)')
_AMD = re.compile(r'^(?:(\S+):.*|[ \t]+([a-z]\w+)[ \t]*([^;\n]*).*)$', re.M)
_MMA = re.compile(
    r'HMMA\.(?P<hmma>16816|1688)\b|HGMMA\.(?P<hgmma>[\dx]+)|(?P<tcgen05>UTC\w*MMA)|v_mfma_f32_(?P<mfma>[\dx]+)'
)
_HMMA = {'16816': (16, 8, 16), '1688': (16, 8, 8)}


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    Attributes:
        place: Its place in the code; later instructions have larger ones.
        name: Opcode with modifiers.
        target: Place that it may jump to, or None.
        falls_through: Whether the next instruction may follow.
    """

    place: int
    name: str
    target: int | None = None
    falls_through: bool = True

    @property
    def multiplies(self) -> bool:
        """Whether it multiplies matrices."""
        return _MMA.match(self.name) is not None

    @property
    def macs(self) -> int | None:
        """Multiply-adds of a warp that its name tells of."""
        match = _MMA.match(self.name)
        if match is None or match['tcgen05']:
            return None
        if match['hmma']:
            m, n, k = _HMMA[match['hmma']]
        else:
            m, n, k = map(int, (match['hgmma'] or match['mfma']).split('x'))
            m //= 4 if match['hgmma'] else 1  # four warps work on it together
        return m * n * k


@dataclass(frozen=True)
class Code:
    """A compiled kernel.

    Attributes:
        registers: Of a thread.
        spills: Bytes of a thread's stack, which holds what registers do not.
        shared: Bytes of shared memory whose size was known to the compiler.
        instructions: In order.
    """

    registers: int
    spills: int
    shared: int
    instructions: tuple[Instruction, ...]

    def loop(self) -> list[Instruction]:
        """Find the longest way through the innermost loop with the most matrix products.

        Loops inside count once.

        Returns:
            list[Instruction]: Empty if no loop multiplies matrices.
        """
        graph, blocks = self._flow()
        entry = self.instructions[0].place
        graph = graph.subgraph({entry} | nx.descendants(graph, entry))
        dominator = nx.immediate_dominators(graph, entry)

        def dominates(block: int, other: int) -> bool:
            while other not in (block, entry):
                other = dominator[other]
            return other == block

        back = [(end, begin) for end, begin in graph.edges if dominates(begin, end)]
        forward = nx.DiGraph(graph)
        forward.remove_edges_from(back)
        loops = []
        for end, begin in back:
            inside = nx.ancestors(graph.subgraph(set(graph) - {begin}), end) | {end} if end != begin else set()
            body = inside | {begin}
            on_the_way = forward.subgraph(body & (nx.ancestors(forward, end) | {end}))
            way = [x for block in nx.dag_longest_path(on_the_way) for x in blocks[block]]
            loops.append((body, way, sum(x.multiplies for x in way)))
        innermost = [
            (products, len(way), way)
            for body, way, products in loops
            if products and not any(other < body and count for other, _, count in loops)
        ]
        return max(innermost, key=lambda found: found[:2])[2] if innermost else []

    def _flow(self) -> tuple[nx.DiGraph, dict[int, list[Instruction]]]:
        """Find what may follow what: blocks without jumps, by the place of the first instruction."""
        begins = {x.target for x in self.instructions} | {self.instructions[0].place}
        begins |= {y.place for x, y in pairwise(self.instructions) if x.target is not None or not x.falls_through}
        blocks, graph = {}, nx.DiGraph()
        for x in self.instructions:
            if x.place in begins:
                begin = x.place
            blocks.setdefault(begin, []).append(x)
        for (begin, block), following in zip(blocks.items(), [*list(blocks)[1:], None]):
            graph.add_node(begin)
            last = block[-1]
            ways = {last.target} if last.target in blocks else set()
            ways |= {following} if last.falls_through and following is not None else set()
            graph.add_edges_from((begin, way, dict(weight=len(blocks[way]))) for way in ways)
        return graph, blocks


def parse_sass(text: str) -> Iterator[Instruction]:
    """Read a function as NVIDIA's disassembler prints it."""
    for place, predicate, name, operands in _SASS.findall(text):
        # compilers use a call without return as a far jump
        target = re.search(r'\b0x[0-9a-f]+$', operands) if name.startswith(('BRA', 'CALL.REL')) else None
        leaves = name.startswith(('BRA', 'EXIT', 'RET'))
        conditional = predicate or re.match(r'!?U?P\d', operands) or name.startswith('BRA.DIV')
        yield Instruction(int(place, 16), name, int(target[0], 16) if target else None, bool(conditional) or not leaves)


def parse_amd(text: str) -> Iterator[Instruction]:
    """Read a function as LLVM prints it for AMD's GPUs."""
    lines, labels = [], {}
    for label, name, operands in _AMD.findall(text):
        if label:
            labels[label] = len(lines)
        elif name.startswith(('v_', 's_', 'ds_', 'buffer_', 'global_', 'flat_')):
            lines.append((name, operands.strip()))
    for place, (name, operands) in enumerate(lines):
        target = labels.get(operands) if 'branch' in name else None
        yield Instruction(place, name, target, name not in ('s_branch', 's_endpgm'))


def amd_code(text: str) -> Code:
    """Read one kernel."""
    numbers = {
        key: int(re.search(rf'\.{key}:\s+(\d+)', text)[1])
        for key in ('vgpr_count', 'private_segment_fixed_size', 'group_segment_fixed_size')
    }
    return Code(*numbers.values(), tuple(parse_amd(text)))


def nvidia_code(file: Path) -> dict[str, Code]:
    """Read the kernels of a binary, by their names."""

    def dump(option: str) -> str:
        command = [knobs.nvidia.cuobjdump.path, option, file]
        path = f'{Path(knobs.nvidia.nvdisasm.path).parent}:{os.environ["PATH"]}'  # it calls nvdisasm
        environment = {**os.environ, 'PATH': path}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    _, *parts = re.split(r'Function : (\S+)', dump('-sass'))
    instructions = {name: tuple(parse_sass(text)) for name, text in zip(parts[::2], parts[1::2])}
    return {
        name: Code(int(registers), int(stack) + int(local), int(shared), instructions[name])
        for name, registers, stack, shared, local in _USAGE.findall(dump('-res-usage'))
    }
