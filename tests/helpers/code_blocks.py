"""Code blocks of a Markdown page and the marks in the comments above them.

A block in ``bash`` or ``python`` is run unless the comment right above it is one of::

    <!-- file: NAME -->          write it to NAME, a config that must load, and do not run it
    <!-- config -->              a config, or a part of one, that must load
    <!-- not run: REASON -->     check it without running: needs a GPU, Slurm, the internet, hours
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md')))

LANGUAGES = ('bash', 'python')
# Plain text, and MyST's directives in braces.
SHOWN = re.compile(r'text|\{.+\}')

_FENCE = re.compile(r'^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<language>\S*).*$')
_MARK = re.compile(r'^<!-- (?P<kind>file|config|not run)(?:: (?P<value>.+))? -->$')


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: File that contains it.
        line: Line number of its opening fence, from 1.
        language: The word after the fence.
        text: The lines between the fences.
        mark: ``'file'``, ``'config'``, ``'not run'``, or '' for a block to be run.
        value: The text after the mark: the file's name or the reason.
    """

    page: Path
    line: int
    language: str
    text: str
    mark: str
    value: str

    def __str__(self) -> str:
        return f'{self.page.name}:{self.line}'


def blocks_of(page: Path) -> list[Block]:
    """Return the fenced blocks of a page in order.

    Raises:
        ValueError: If a fence is not closed or a mark is invalid.
    """
    return parse(page.read_text('utf-8'), page)


def parse(text: str, page: Path) -> list[Block]:
    """Return the fenced blocks of a text; see :func:`blocks_of`."""
    found, lines, number = [], text.splitlines(), 0
    while number < len(lines):
        opening = _FENCE.match(lines[number])
        if opening is None:
            number += 1
            continue
        closing = opening['indent'] + opening['fence']
        try:
            end = lines.index(closing, number + 1)
        except ValueError:
            raise ValueError(f'{page.name}:{number + 1}: the block is not closed') from None
        mark, value = _mark_above(lines[:number], f'{page.name}:{number + 1}')
        body = textwrap.dedent('\n'.join(lines[number + 1 : end]) + '\n')
        found.append(Block(page, number + 1, opening['language'], body, mark, value))
        number = end + 1
    return found


def _mark_above(lines: list[str], where: str) -> tuple[str, str]:
    above = next((line.strip() for line in reversed(lines) if line.strip()), '')
    if not above.startswith('<!--'):
        return '', ''
    mark = _MARK.match(above)
    if mark is None:
        raise ValueError(f'{where}: {above!r} is not a known mark')
    kind, value = mark['kind'], mark['value'] or ''
    if (kind == 'config') == bool(value):
        raise ValueError(f'{where}: {above!r} must be followed by a name or a reason')
    return kind, value
