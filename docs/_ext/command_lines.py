"""Directive ``command-line``: the options of a tool, read from its parser at build time."""

from __future__ import annotations

import argparse
import importlib
from typing import Any, ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def parser_of(module: str) -> argparse.ArgumentParser:
    """Return the parser of a tool's module, such as ``adasap_det.cli.train``."""
    return importlib.import_module(module)._parser()


def options_of(parser: argparse.ArgumentParser) -> list[tuple[str, str]]:
    """Return each argument as it is written and its help text, without ``--help``."""
    formatter = parser._get_formatter()
    return [
        (formatter._format_action_invocation(action), formatter._expand_help(action))
        for action in parser._actions
        if action.help != argparse.SUPPRESS and not isinstance(action, argparse._HelpAction)
    ]


class CommandLine(SphinxDirective):
    """``{command-line} MODULE``: the description of a tool and a list of its options."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[nodes.Node]:
        """Return the nodes that replace the directive."""
        parser = parser_of(self.arguments[0])
        found: list[nodes.Node] = [nodes.paragraph(text=parser.description or '')]
        listed = nodes.definition_list()
        for written, text in options_of(parser):
            term = nodes.term('', '', nodes.literal(text=written))
            name = nodes.make_id(f'{self.arguments[0].rpartition(".")[2]} {written.split(",")[0]}')
            term['ids'].append(name)
            listed += nodes.definition_list_item(
                '', term, nodes.definition('', nodes.paragraph(text=text))
            )
        found.append(listed)
        if parser.epilog:
            found += [nodes.paragraph(text=text) for text in parser.epilog.split('\n\n')]
        return found


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive; called by Sphinx."""
    app.add_directive('command-line', CommandLine)
    return {'parallel_read_safe': True}
