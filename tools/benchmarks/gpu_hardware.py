"""What GPUs can do, how many warps of a kernel they hold, and how long its work takes at least."""

from dataclasses import dataclass

from gpu_kernels import Kernel
from problem import Shape

#: What bounds the time of a kernel, in the order of :meth:`GPU.microseconds`.
RESOURCES = ('issue', 'exponentials', 'products', 'L2', 'memory')


@dataclass(frozen=True)
class Work:
    """What a kernel does.

    Attributes:
        products (int): Of matrices, for a tile.
        tensors (int): Of the size of the queries that it reads and writes.
        loads_rows (bool): Whether it loads the rows of each tile, too.
    """

    products: int
    tensors: int
    loads_rows: bool = False


WORK = {
    'forward': Work(2, 4),
    'backward_queries': Work(3, 6),
    'backward_keys': Work(4, 6),
    'backward_globals': Work(4, 2),
    'backward_table': Work(2, 4, True),
}


def num_tiles(kernel: Kernel, shape: Shape) -> int:
    """Count the tiles of a problem. The few of global tokens among local ones are left out."""
    heads = shape.batch * shape.heads
    if kernel.name == 'backward_globals':
        return heads * -(-shape.num_global_tokens // kernel.rows) * -(-shape.height * shape.width // kernel.columns)
    size = shape.window_size
    axes = [[min(size, length - begin) for begin in range(0, length, size)] for length in shape.grid]
    seen = [[sum(axis[max(0, i - 1) : i + 2]) for i in range(len(axis))] for axis in axes]
    return heads * sum(
        -(-height * width // kernel.rows) * -(-seen_height * seen_width // kernel.columns)
        for height, seen_height in zip(axes[0], seen[0])
        for width, seen_width in zip(axes[1], seen[1])
    )


@dataclass(frozen=True)
class GPU:
    """One GPU; "multiprocessor" also stands for AMD's compute unit, and "warp" for its wavefront.

    Attributes:
        name (str): As sold.
        multiprocessors (int): How many it has.
        gigahertz (float): Boost clock.
        registers (int): 32-bit registers of a multiprocessor.
        shared_kb (int): Shared memory of a multiprocessor.
        reserved_kb (int): What the system takes of it for each block.
        warps (int): The most that are resident on a multiprocessor.
        lanes (int): Of a warp.
        issue (int): Clocks of one of a multiprocessor's four schedulers for an
            instruction of a warp.
        exponential (int): The same for an exponential.
        macs (dict[str, int]): Multiply-adds of 16-bit numbers per clock and
            multiprocessor, by what the instruction's name begins with.
        l2_bytes (int, optional): Bytes per clock from the second-level cache,
            or None if nothing is published.
        memory (float): Bytes per second from main memory.
        source (str): Where the figures are from.
    """

    name: str
    multiprocessors: int
    gigahertz: float
    registers: int
    shared_kb: int
    reserved_kb: int
    warps: int
    lanes: int
    issue: int
    exponential: int
    macs: dict[str, int]
    l2_bytes: int | None
    memory: float
    source: str

    def resident_warps(self, kernel: Kernel) -> int:
        """Count the warps that a multiprocessor has registers, shared memory and places for."""
        of_warp = -(-kernel.code.registers // 8) * 8 * self.lanes  # registers are handed out by eights
        by_registers = 4 * (self.registers // 4 // of_warp) // kernel.warps  # each scheduler has its own
        by_shared = self.shared_kb * 1024 // max(1, kernel.shared + self.reserved_kb * 1024)
        return kernel.warps * min(by_registers, by_shared, self.warps // kernel.warps)

    def microseconds(self, kernel: Kernel, shape: Shape) -> list[float | None]:
        """How long each of :data:`RESOURCES` is busy; None if that is not known.

        Only the tiles of the grid's queries and keys count.
        """
        way, tiles, work = kernel.code.loop(), num_tiles(kernel, shape), WORK[kernel.name]
        exponentials = sum(x.name.startswith(('MUFU.EX2', 'v_exp_f32')) for x in way)
        # a block's warps are spread over the four schedulers
        issue, exponential = (
            count * clocks * kernel.warps / 4
            for count, clocks in ((len(way), self.issue), (exponentials, self.exponential))
        )
        # as many as the code does, which may be more than are needed
        macs = (kernel.products or work.products) * kernel.rows * kernel.columns * kernel.width
        multiplier = next((x.name for x in way if x.multiplies), '')
        rates = [rate for begin, rate in self.macs.items() if multiplier.startswith(begin)]
        if kernel.dtype == 'tf32':
            rates = [rate / 2 for rate in rates]
        per_clock = self.multiprocessors * self.gigahertz * 1e3
        bytes_of_token = kernel.width * (2 if kernel.dtype.endswith('16') else 4)
        loaded = 2 * (kernel.columns + work.loads_rows * kernel.rows) * bytes_of_token
        tokens = work.tensors * shape.batch * shape.heads * shape.height * shape.width
        return [
            tiles * issue / per_clock,
            tiles * exponential / per_clock,
            tiles * macs / rates[0] / per_clock if rates else None,
            tiles * loaded / self.l2_bytes / self.gigahertz / 1e3 if self.l2_bytes else None,
            tokens * bytes_of_token / self.memory * 1e6,
        ]


_NVIDIA = dict(registers=2**16, reserved_kb=1, lanes=32, issue=1, exponential=8)
_GUIDE = 'CUDA programming guide, throughput of arithmetic instructions and limits of compute capabilities'
#: One for each key of :data:`gpu_kernels.TARGETS`.
GPUS = {
    'sm_80': GPU(
        **_NVIDIA,
        name='A100 SXM 80 GB',
        multiprocessors=108,
        gigahertz=1.41,
        shared_kb=164,
        warps=64,
        macs=dict(HMMA=1024),
        l2_bytes=5120,
        memory=2.039e12,
        source=f'NVIDIA A100 architecture white paper; {_GUIDE}',
    ),
    'sm_90': GPU(
        **_NVIDIA,
        name='H100 SXM',
        multiprocessors=132,
        gigahertz=1.83,
        shared_kb=228,
        warps=64,
        # the older instruction reaches 62% of the newer one's rate: arXiv 2402.13499
        macs=dict(HMMA=1270, HGMMA=2048),
        l2_bytes=5120,
        memory=3.35e12,
        source=f'NVIDIA H100 architecture white paper; arXiv 2402.13499; {_GUIDE}',
    ),
    'sm_100': GPU(
        **_NVIDIA,
        name='B200',
        multiprocessors=148,
        gigahertz=1.86,
        shared_kb=228,
        warps=64,
        macs=dict(UTC=4096),
        l2_bytes=None,
        memory=7.7e12,
        source=f'NVIDIA HGX B200 data sheet (2.25 PFLOPS); {_GUIDE}',
    ),
    'sm_120': GPU(
        **_NVIDIA,
        name='GeForce RTX 5090',
        multiprocessors=170,
        gigahertz=2.407,
        shared_kb=100,
        warps=48,
        macs=dict(HMMA=256),
        l2_bytes=None,
        memory=1.792e12,
        source=f'NVIDIA RTX Blackwell architecture white paper; {_GUIDE}',
    ),
    'gfx942': GPU(
        name='Instinct MI300X',
        multiprocessors=304,
        gigahertz=2.1,
        registers=2**17,
        shared_kb=64,
        reserved_kb=0,
        warps=32,
        lanes=64,
        issue=4,  # of vector instructions, which most are
        exponential=16,
        macs=dict(v_mfma=1024),
        l2_bytes=8 * 2048,
        memory=5.3e12,
        source='AMD CDNA 3 white paper; AMD Instinct MI300X data sheet',
    ),
}
