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

"""sheepdog-manage node …"""

import time

from cliff import command
from cliff import lister

from sheepdog.cmd import activity
from sheepdog.cmd import exits
from sheepdog.cmd.manage import columns

MEASURED_SECONDS = 1.0


class List(lister.Lister):
    """List the nodes of the cluster."""

    def take_action(self, parsed_args):
        return ('Id', 'Host', 'Port', 'V-Nodes', 'Zone'), [
            (node['id'], node['host'], node['port'], node['vnodes'],
             node['zone']) for node in self.app.client.nodes.list()]


class Space(lister.Lister):
    """Show the space of each node."""

    def take_action(self, parsed_args):
        return ('Id', 'Host', 'Port', 'Total', 'Used', 'Free', 'Error'), [
            (node['id'], node['host'], node['port'],
             columns.Size(node['total']), columns.Size(node['used']),
             columns.Size(node['free']), node.get('error', ''))
            for node in self.app.client.nodes.info()['nodes']]


class Stat(lister.Lister):
    """Count the requests of the node that is asked."""

    def take_action(self, parsed_args):
        names = ('active', 'total', 'write', 'read', 'remove', 'flush')
        return ('Request',) + tuple(
            name.capitalize() for name in names) + ('Written', 'Bytes read'), [
                (title,) + tuple(row[name] for name in names) + (
                    columns.Size(row['bytes_written']),
                    columns.Size(row['bytes_read']))
                for title, row in self.app.client.nodes.stat().items()]


class Activity(lister.Lister):
    """Measure for a second what the nodes do."""

    def take_action(self, parsed_args):
        calls = self.app.client.cluster
        before, when = calls.activity(), time.monotonic()
        time.sleep(MEASURED_SECONDS)
        rows = activity.between(before, calls.activity(),
                                time.monotonic() - when)
        if any(row['error'] for row in rows):
            self.app.late_exit_code = exits.SYSTEM
        return ('Node', 'Reads/s', 'Writes/s', 'Read/s', 'Written/s',
                'Read ms', 'Write ms', 'Active', 'Error'), [
                    (row['node'] or 'all', *(
                        ('',) * 7 if row['error'] else (
                            round(row['read']), round(row['write']),
                            columns.Size(int(row['bytes_read'])),
                            columns.Size(int(row['bytes_written'])),
                            row['read_ms'], row['write_ms'],
                            row['active'])), row['error'])
                    for row in rows]


class Recovery(lister.Lister):
    """Show the nodes that restore redundancy."""

    def take_action(self, parsed_args):
        return ('Id', 'Host', 'Port', 'Done', 'Total', 'Seconds left'), [
            (node['id'], node['host'], node['port'], node['done'],
             node['total'], node.get('seconds_left'))
            for node in self.app.client.nodes.recovery()]


class Throttle(lister.Lister):
    """Show or change how hard the nodes may work at recovery.

    A change lasts until the node stops, or its configuration changes.
    """

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--max', type=int, metavar='OBJECTS',
            help='made whole at once; 0: as the node thinks fit')
        parser.add_argument(
            '--interval', type=int, metavar='MS',
            help='milliseconds of rest behind each object (default: 0)')
        return parser

    def take_action(self, parsed_args):
        nodes = self.app.client.nodes
        if parsed_args.max is None and parsed_args.interval is None:
            found = nodes.throttles()
        else:
            found = nodes.set_throttle(parsed_args.max or 0,
                                       parsed_args.interval or 0, True)
        return ('Address', 'Objects at once', 'Rest in ms', 'Error'), [
            (one['address'], one.get('max'), one.get('interval'),
             one.get('error', '')) for one in found]


class Vnodes(command.Command):
    """Change the number of virtual nodes of the node that is asked.

    For clusters in which they are fixed.
    """

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument('number', type=int)
        return parser

    def take_action(self, parsed_args):
        self.app.client.nodes.set_vnodes(parsed_args.number)


class Stop(command.Command):
    """Stop one node."""

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument('id', type=int, help='its id in node list')
        return parser

    def take_action(self, parsed_args):
        self.app.client.nodes.kill(parsed_args.id)
