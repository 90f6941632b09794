"""Triton's interpreter, made fit for tests."""


def patch_once():
    """Let functions that a kernel calls run as they are.

    Before each such call, the interpreter patches the whole language, though
    it already is. That takes most of its time.
    """
    from triton.runtime.interpreter import InterpretedFunction

    call, called = InterpretedFunction.__call__, set()

    def call_quickly(self, *args, **kwargs):
        if self.fn not in called:
            called.add(self.fn)
            return call(self, *args, **kwargs)
        return self.rewrite()(*args, **kwargs)

    InterpretedFunction.__call__ = call_quickly
