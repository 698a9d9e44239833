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

"""sheepdog-manage log … and trace …"""

from cliff import lister

from sheepdog.cmd import exits
from sheepdog.cmd import logs
from sheepdog.cmd.manage import columns


class _OfAll(lister.Lister):
    """One row for each node; the exit code tells whether all answered."""

    def run(self, parsed_args):
        super().run(parsed_args)
        return exits.OK if self.is_told_by_all else exits.SYSTEM

    def _rows(self, names, values_of, nodes):
        self.is_told_by_all = not any('error' in one for one in nodes)
        return ('Address', *names, 'Error'), [
            (one['address'], *values_of(one), one.get('error', ''))
            for one in nodes]


class _Levels(_OfAll):
    def _levels(self, nodes):
        return self._rows(('Level', 'Loggers'), lambda one: (
            one.get('level', ''), columns.Lines(
                ['%s:%s' % item
                 for item in one.get('loggers', {}).items()])), nodes)


class Show(_Levels):
    """Show from which level on each node logs."""

    def take_action(self, parsed_args):
        return self._levels(self.app.client.nodes.log('get'))


class Set(_Levels):
    """Set from which level on all nodes log, until they are restarted.

    SIGHUP makes a node go back to what its configuration says.
    """

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument('level', choices=logs.levels())
        parser.add_argument(
            '--logger', default='', metavar='NAME',
            help='only this part, as it is named in the log: '
                 'sheepdog.recovery')
        return parser

    def take_action(self, parsed_args):
        return self._levels(self.app.client.nodes.log(
            'set', parsed_args.level, parsed_args.logger))


class _Trace(_OfAll):
    action = ''

    def take_action(self, parsed_args):
        return self._rows(('On', 'VDIs'), lambda one: (
            one.get('is_on', False), columns.Lines(one.get('names', []))),
            self.app.client.nodes.trace(
                self.action, getattr(parsed_args, 'vdi', ())))


class TraceOn(_Trace):
    """Log each step of requests on all nodes, from client to disk.

    Until it is switched off, or the node restarted. It costs a lot: name
    VDIs.
    """

    action = 'on'

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument('vdi', nargs='*',
                            help='requests for these only (default: all)')
        return parser


class TraceOff(_Trace):
    """Log the steps of requests no more."""

    action = 'off'


class TraceShow(_Trace):
    """Show which nodes log the steps of requests."""

    action = 'show'
