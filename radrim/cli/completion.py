"""The command `radrim completion`: a script with which a shell completes commands, options and their values."""

import argparse
from collections.abc import Iterator

SHELLS = ("bash", "zsh", "fish")
EXAMPLES = """\
examples:
  source <(radrim completion bash)                                for this shell
  radrim completion bash > ~/.local/share/bash-completion/completions/radrim
  radrim completion zsh > ~/.zsh/_radrim                          with ~/.zsh in fpath
  radrim completion fish > ~/.config/fish/completions/radrim.fish
"""
_BASH = """\
# Completion of radrim for bash.
_radrim() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" command="${{COMP_WORDS[1]}}"
    local choices=""
    if [ "$COMP_CWORD" -eq 1 ]; then
        choices="{commands}"
    else
        case "$command $before" in
{values}
        esac
        if [ -z "$choices" ]; then
            case "$word" in
                -*) case "$command" in
{options}
                esac ;;
            esac
        fi
    fi
    COMPREPLY=($(compgen -W "$choices" -- "$word"))
    [ -n "$choices" ] || COMPREPLY=($(compgen -f -- "$word"))
}}
complete -o filenames -o bashdefault -F _radrim radrim
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `radrim completion` to an argparse parser."""
    parser.add_argument("shell", choices=SHELLS, help="shell that shall complete")


def script(shell: str, parsers: dict[str, argparse.ArgumentParser]) -> str:
    """The script of a shell for the parsers of all commands."""
    if shell == "fish":
        return _fish(parsers)
    values = [
        f'            "{command} {flag}") choices="{" ".join(choices)}" ;;'
        for command, parser in parsers.items()
        for flags, choices in _valued(parser)
        for flag in flags
    ]
    options = [
        f'                    {command}) choices="{" ".join(_flags(parser))}" ;;' for command, parser in parsers.items()
    ]
    text = _BASH.format(commands=" ".join(parsers), values="\n".join(values), options="\n".join(options))
    if shell == "zsh":
        return f"#compdef radrim\nautoload -U +X bashcompinit && bashcompinit\n{text}"
    return text


def _flags(parser: argparse.ArgumentParser) -> list[str]:
    return [flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")]  # noqa: SLF001 - argparse has no public list


def _valued(parser: argparse.ArgumentParser) -> Iterator[tuple[list[str], list[str]]]:
    """Options with a fixed set of values, and positional arguments by an empty flag."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no public list
        choices = getattr(action, "shown_choices", None) or action.choices
        if choices and action.option_strings:
            yield list(action.option_strings), [str(choice) for choice in choices]


def _fish(parsers: dict[str, argparse.ArgumentParser]) -> str:
    lines = ["# Completion of radrim for fish."]
    lines += [f"complete -c radrim -n __fish_use_subcommand -a {command}" for command in parsers]
    for command, parser in parsers.items():
        where = f"complete -c radrim -n '__fish_seen_subcommand_from {command}'"
        lines += [f"{where} -l {flag[2:]}" for flag in _flags(parser)]
        for flags, choices in _valued(parser):
            lines += [f"{where} -l {flag[2:]} -x -a '{' '.join(choices)}'" for flag in flags if flag.startswith("--")]
    return "\n".join(lines) + "\n"
