"""Text that is shown as it is."""


class Page(str):
    """Text of several lines. A prompt or notebook shows the lines, where it would show other text in quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)
