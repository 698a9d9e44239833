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

"""sheepdog-manage vdi … and lock …"""

import argparse

from cliff import command
from cliff import lister
from cliff import show

from sheepdog.cmd import exits
from sheepdog.cmd.manage import cluster
from sheepdog.cmd.manage import columns
from sheepdog.cmd import places
from sheepdog.cmd import words
from sheepdog.model import errors
from sheepdog.model import sizes
from sheepdog.placement import redundancy


class List(lister.Lister):
    """List the VDIs."""

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument('name', nargs='?', default='',
                            help='only those of this name')
        return parser

    def take_action(self, parsed_args):
        return ('Name', 'Tag', 'Snapshot', 'VDI id', 'Size', 'Used',
                'Shared', 'Created', 'Redundancy'), [
                    (vdi['name'], vdi['tag'], vdi['snap_id'],
                     '%06x' % vdi['vdi_id'], columns.Size(vdi['size']),
                     columns.Size(vdi['used']), columns.Size(vdi['shared']),
                     columns.Time(vdi['created']),
                     redundancy.text_of(vdi['copies'], vdi['copy_policy']))
                    for vdi in self.app.client.vdis.list(parsed_args.name)]


class Create(show.ShowOne):
    """Create a VDI."""

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument('name')
        parser.add_argument('size', type=size_of,
                            help='with B, K, M, G, T or P behind it')
        add_copies(parser)
        return parser

    def take_action(self, parsed_args):
        vdi = self.app.client.vdis.create(
            parsed_args.name, parsed_args.size,
            **parsed_args.copies._asdict())
        return ('name', 'vdi_id', 'size'), (
            vdi['name'], '%06x' % vdi['vdi_id'], columns.Size(vdi['size']))


class Resize(command.Command):
    """Make a VDI larger, or smaller.

    What is beyond its new end is lost; snapshots keep it.
    """

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument('name')
        parser.add_argument('size', type=size_of,
                            help='with B, K, M, G, T or P behind it')
        parser.add_argument('--force', action='store_true',
                            help='also make it smaller')
        return parser

    def take_action(self, parsed_args):
        self.app.client.vdis.resize(parsed_args.name, parsed_args.size,
                                    parsed_args.force)


class Delete(command.Command):
    """Delete a VDI."""

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument('name')
        return parser

    def take_action(self, parsed_args):
        self.app.client.vdis.delete(parsed_args.name)


class Location(lister.Lister):
    """Show which nodes have an object of a VDI, and which should."""

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        _add_object(parser)
        return parser

    def take_action(self, parsed_args):
        copies = places.copies(self.app.client.vdis.object(
            parsed_args.name, parsed_args.index, parsed_args.snapshot))
        if any(copy.error for copy in copies):
            self.app.late_exit_code = exits.SYSTEM
        return ('Node', 'State', 'Strips', 'Place', 'Error'), [
            (copy.address, copy.state,
             ', '.join(str(one) for one in copy.strips if one >= 0),
             copy.place if copy.place >= 0 else '', copy.error)
            for copy in copies]


class Track(lister.Lister):
    """Show where an object of a VDI was to be in each epoch."""

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        _add_object(parser)
        return parser

    def take_action(self, parsed_args):
        client = self.app.client
        found = client.vdis.object(parsed_args.name, parsed_args.index,
                                   parsed_args.snapshot, ask=False)
        return ('Epoch', 'Copies', 'Nodes'), [
            (epoch, copies, columns.Lines(addresses))
            for epoch, copies, addresses in places.track(
                found, client.cluster.info()['epochs'])]


class Locks(lister.Lister):
    """List the VDIs that are open, and where."""

    def take_action(self, parsed_args):
        return ('Name', 'Tag', 'VDI id', 'Mode', 'Owners'), [
            (lock['name'], lock['tag'], '%06x' % lock['vdi_id'],
             lock['mode'], columns.Lines(
                 [words.host_port(owner) for owner in lock['owners']]))
            for lock in self.app.client.vdis.locks()]


class Unlock(command.Command):
    """Take the lock of a VDI from whoever has it.

    Its writes fail from then on, and what it did not flush is lost.
    """

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument('name')
        return parser

    def take_action(self, parsed_args):
        self.app.client.vdis.unlock(parsed_args.name)


def _add_object(parser):
    parser.add_argument('name')
    parser.add_argument('--index', type=int, default=-1,
                        help='of the object (default: the inode)')
    parser.add_argument('--snapshot', default='', metavar='TAG',
                        help='of that snapshot')


def add_copies(parser):
    """How often a new VDI is kept: ``redundancy.Policy``."""
    parser.add_argument(
        '--copies', type=cluster.redundancy_of,
        default=redundancy.Policy(0), metavar='COPIES|D:P',
        help='of each object, or data and parity strips (default: as '
             'formatted)')


def size_of(text):
    """A size of at least one byte, for argparse."""
    try:
        size = sizes.parse_size(text)
    except errors.InvalidParameters as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None
    if not size:
        raise argparse.ArgumentTypeError('a VDI of size 0 is of no use')
    return size
