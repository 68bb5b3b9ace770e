"""What the translation of a command gives."""

from dataclasses import dataclass, field


@dataclass
class Translation:
    """A command of radrim that does what a command of another program does.

    Parameters
    ----------
    command : str
        'image' or 'predict'.
    inputs : list of str
        Measurement Sets.
    options : list of str
        Options of radrim with their values.
    notes : list of str
        What differs, in sentences.
    missing : list of str
        What radrim does not do, or does in another way, in sentences.
    """

    command: str = "image"
    inputs: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def words(self) -> list[str]:
        """The whole command; inputs come first, because argparse could read them as values of an option."""
        return ["radrim", self.command, *self.inputs, *self.options]
