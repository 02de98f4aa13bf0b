"""What can go wrong, and whose fault it is."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Message:
    """One thing that is wrong in a program. Without a place `file` is empty and `line` and `column` are 0."""

    file: str
    line: int
    column: int
    text: str
    notes: list["Message"] = field(default_factory=list)


class CompileError(Exception):
    """The program is wrong. `messages` has every error; `file`, `line`, `column`, `message` and `notes` are of the first."""

    def __init__(self, text: str, messages: list[Message]):
        super().__init__(text)
        self.text = text
        self.messages = messages
        self.call: str | None = None  #: The Python call that asked for it, where there was one.

    @property
    def _first(self) -> Message:
        return self.messages[0] if self.messages else Message("", 0, 0, self.text)

    file = property(lambda self: self._first.file)
    line = property(lambda self: self._first.line)
    column = property(lambda self: self._first.column)
    message = property(lambda self: self._first.text)
    notes = property(lambda self: self._first.notes)

    def __str__(self) -> str:
        return self.text.rstrip("\n") + (f"\nin {self.call}" if self.call else "")


class NotFoundError(LookupError):
    """A file, tensor or entry that does not exist."""


class CorruptError(ValueError):
    """A file that contradicts itself or its checksum."""


class InternalError(Exception):
    """A bug in Tidegate."""
