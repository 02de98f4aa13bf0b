"""Tidegate: a compiler with automatic differentiation for fast-weight language models.

    program = tidegate.compile("gla.tg", params={"D": 64})
    o = program.gated_scan(q, k, v, a)                      # NumPy arrays or torch tensors, not copied
    gradients = program.gated_scan.vjp(do, q, k, v, a)      # by name

`tidegate.torch`, `tidegate.fla`, `tidegate.Trainer`, `tidegate.data` and `tidegate.lm_eval` build on that.
"""

from ._tidegate import version as __version__
from .errors import CompileError, CorruptError, InternalError, Message, NotFoundError
from .model import Decoder, Model, load
from .program import Entry, Program, Weight, compile, stages
from .trainer import Trainer

__all__ = ["CompileError", "CorruptError", "Decoder", "Entry", "InternalError", "Message", "Model", "NotFoundError",
           "Program", "Trainer", "Weight", "compile", "load", "stages"]
