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

"""sheepdog-manage quarantine …"""

from cliff import command
from cliff import lister
from cliff import show

from sheepdog.cmd import exits
from sheepdog.cmd.manage import columns
from sheepdog.cmd import words
from sheepdog.model import errors

_COLUMNS = ('name', 'node', 'object', 'version', 'when', 'size', 'used',
            'why', 'was')


def _values(node, note):
    return (note['name'], words.host_port(node), note['object'] or '',
            note['version'], columns.Time(note['when']),
            columns.Size(note['size']), columns.Size(note['used']),
            note['why'], note['was'])


class List(lister.Lister):
    """List what the stores could not explain and have set aside."""

    def take_action(self, parsed_args):
        nodes = self.app.client.nodes.quarantine()
        self._silent = [node for node in nodes if 'error' in node]
        for node in self._silent:
            self.app.stderr.write('%s does not tell: %s\n' % (
                words.host_port(node), node['error']))
        return ('Name', 'Node', 'Object', 'When', 'Used', 'Why'), [
            tuple(_values(node, note)[_COLUMNS.index(name)]
                  for name in ('name', 'node', 'object', 'when', 'used',
                               'why'))
            for node in nodes for note in node.get('notes', ())]

    def run(self, parsed_args):
        super().run(parsed_args)
        return exits.SYSTEM if self._silent else exits.OK


class Show(show.ShowOne):
    """Show one thing that was set aside, and where its file is."""

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument('name', help='as "quarantine list" has it')
        return parser

    def take_action(self, parsed_args):
        for node in self.app.client.nodes.quarantine():
            for note in node.get('notes', ()):
                if note['name'] == parsed_args.name:
                    return _COLUMNS, _values(node, note)
        raise errors.NoObject('%s is in no quarantine' % parsed_args.name)


class Add(command.Command):
    """Set the copy of one node aside, because it is the wrong one.

    It is made anew from the other copies. Not possible where there is no
    other that is whole.
    """

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument('object', help='its number, 16 hexadecimal '
                                           'digits')
        parser.add_argument('node', help='HOST:PORT')
        return parser

    def take_action(self, parsed_args):
        self.app.client.nodes.quarantine_copy(parsed_args.object,
                                              parsed_args.node)


class Delete(command.Command):
    """Delete things that were set aside, for good."""

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument('name', nargs='+',
                            help='as "quarantine list" has it')
        parser.add_argument('--force', action='store_true', required=True,
                            help='yes, nobody needs it any more')
        return parser

    def take_action(self, parsed_args):
        for name in parsed_args.name:
            self.app.client.nodes.delete_quarantined(name)
