# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""``.. show-commands:: PROGRAM``: what ``sheep``, ``dog`` or
``sheepdog-manage`` knows, from its code, so that no page must be kept up."""

import argparse
import inspect

from sheepdog.cmd.dog import command
from sheepdog.cmd.dog import dispatch
from sheepdog.cmd.manage import app
from sheepdog.cmd import options
from sheepdog.cmd import sheep
from sphinx.util import docutils


WIDTH = 79


def _block(text) -> list:
    """As a terminal shows it."""
    if not text.strip():
        return []
    return ['   .. code-block:: text', ''] + [
        '      ' + line for line in inspect.cleandoc(text).splitlines()] + ['']


def of_sheep() -> list:
    return ['``sheep [OPTION]... [META]``',
            *_block(options.explain(sheep.OPTIONS))]


def of_dog() -> list:
    lines = ['All commands', *_block(options.explain(command.COMMON))]
    for known in dispatch.COMMANDS:
        lines += ['``%s``' % known.usage,
                  '   %s.' % (known.help[0].upper() + known.help[1:]), '',
                  *_block(options.explain(known.options))]
    return lines


def of_manage() -> list:
    program = app.ManageApp()
    lines = ['All commands', *_block(_arguments(program.parser))]
    for name, kind in sorted(app.COMMANDS.items()):
        parser = kind(program, None, name).get_parser(name)
        usage = [name] + [_metavar(action) for action
                          in parser._positionals._group_actions]
        lines += ['``sheepdog-manage %s``' % ' '.join(usage)]
        lines += ['   ' + line for line
                  in inspect.getdoc(kind).splitlines()]
        lines += ['', *_block(_arguments(parser))]
    return lines


def _metavar(action) -> str:
    shown = str(action.metavar or action.dest).upper()
    return '[%s]' % shown if action.nargs in ('?', '*') else shown


def _arguments(parser) -> str:
    """Those of its own: cliff's stand in groups of their own."""
    formatter = argparse.HelpFormatter(parser.prog, 4, 30, WIDTH)
    for group in parser._positionals, parser._optionals:
        formatter.add_arguments(
            action for action in group._group_actions
            if action.dest != 'help')
    return formatter.format_help()


class ShowCommands(docutils.SphinxDirective):
    required_arguments = 1

    def run(self):
        lines = {'sheep': of_sheep, 'dog': of_dog,
                 'sheepdog-manage': of_manage}[self.arguments[0]]()
        return self.parse_text_to_nodes('\n'.join(lines))


def setup(sphinx):
    sphinx.add_directive('show-commands', ShowCommands)
    return {'parallel_read_safe': True, 'version': '1'}
