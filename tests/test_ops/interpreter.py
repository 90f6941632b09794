"""Triton's interpreter, made fit for tests: most of its time goes into descriptions that it makes again and again."""

import dataclasses
import math


def patch_once():
    """Make the interpreter faster. What it computes stays the same."""
    from triton.language import core
    from triton.runtime import interpreter

    # Before each call of a kernel's function, it patches the whole language, though it already is.
    call, called = interpreter.InterpretedFunction.__call__, set()

    def call_quickly(self, *args, **kwargs):
        if self.fn not in called:
            called.add(self.fn)
            return call(self, *args, **kwargs)
        return self.rewrite()(*args, **kwargs)

    interpreter.InterpretedFunction.__call__ = call_quickly

    # It computes integers once more in 64 bits, for an assertion that is off.
    builder = interpreter.interpreter_builder
    builder.options = dataclasses.replace(builder.options, sanitize_overflow=False)

    # Types are made by the hundred thousand, and tell few names and shapes.
    to_numpy, numpy_types = interpreter._get_np_dtype, {}

    def to_numpy_quickly(type):
        if type.name not in numpy_types:
            numpy_types[type.name] = to_numpy(type)
        return numpy_types[type.name]

    interpreter._get_np_dtype = to_numpy_quickly

    describe_block, blocks = core.block_type.__init__, {}

    def describe_block_quickly(self, element_ty, shape):
        key = element_ty.name, *map(core._unwrap_if_constexpr, shape)
        if key not in blocks:
            describe_block(self, element_ty, shape)
            blocks[key] = vars(self)
        vars(self).update(blocks[key])

    core.block_type.__init__ = describe_block_quickly

    shapes = {}

    def make_tensor(self, handle, type):
        shape = type.shape.values if type.is_block() else ()
        key = (*shape,)
        if key not in shapes:
            shapes[key] = core.constexpr(math.prod(shape)), core.tuple([core.constexpr(x) for x in shape])
        self.handle, self.type, self.dtype = handle, type, type.scalar
        self.numel, self.shape = shapes[key]

    core.tensor.__init__ = make_tensor
