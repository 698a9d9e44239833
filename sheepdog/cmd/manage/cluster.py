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

"""sheepdog-manage cluster …"""

import argparse

from cliff import command
from cliff import lister
from cliff import show

from sheepdog.cmd import exits
from sheepdog.cmd.manage import columns
from sheepdog.cmd import states
from sheepdog.model import errors
from sheepdog.model import limits
from sheepdog.placement import redundancy


class Show(show.ShowOne):
    """Show the state and the settings of the cluster."""

    def take_action(self, parsed_args):
        info = self.app.client.cluster.info()
        rows = [('state', states.show(info)),
                ('missing', columns.Lines(info.get('missing', [])))]
        settings = info['settings']
        if settings:
            rows += [
                ('created', columns.Time(settings['created'] >> 32)),
                ('store', settings['store']),
                ('redundancy', redundancy.text_of(settings['copies'],
                                                  settings['copy_policy'])),
                ('object_bytes', columns.Size(
                    1 << settings['block_size_shift'])),
                ('strict', settings['strict']),
                ('fixed_vnodes', settings['fixed_vnodes']),
                ('recycle_ids', settings['recycle_ids']),
                ('avoid_full', settings['avoid_full']),
                ('recovery_enabled', settings.get('recovery_enabled',
                                                  True))]
        return [name for name, _value in rows], [
            value for _name, value in rows]


class Epochs(lister.Lister):
    """List the epochs of the cluster, newest first."""

    def take_action(self, parsed_args):
        return ('Epoch', 'Time', 'Members'), [
            (epoch['epoch'], columns.Time(epoch['time']),
             columns.Lines(['%s:%d:%d' % (member['host'], member['port'],
                                          member['vnodes'])
                            for member in epoch['members']]))
            for epoch in self.app.client.cluster.info()['epochs']]


class Format(command.Command):
    """Begin a new, empty cluster."""

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--copies', type=redundancy_of, default=redundancy.Policy(3),
            metavar='COPIES|D:P',
            help='of each object, or data and parity strips (default: 3)')
        parser.add_argument(
            '--block-size-shift', type=int, metavar='SHIFT',
            choices=range(limits.OBJECT_SHIFT_MIN,
                          limits.OBJECT_SHIFT_MAX + 1),
            default=limits.OBJECT_SHIFT_DEFAULT,
            help='objects are of 2^SHIFT bytes (default: %(default)s)')
        parser.add_argument(
            '--strict', action='store_true',
            help='no writes with fewer zones than copies')
        parser.add_argument(
            '--avoid-full', action='store_true',
            help='start no recovery that would fill a disk')
        parser.add_argument(
            '--fixed-vnodes', action='store_true',
            help='numbers of virtual nodes are fixed')
        parser.add_argument(
            '--force', action='store_true',
            help='also when there is a cluster: its VDIs are gone then')
        return parser

    def take_action(self, parsed_args):
        cluster = self.app.client.cluster
        if cluster.info()['settings'] and not parsed_args.force:
            raise exits.Stop(
                'the cluster is formatted already: --force formats it anew, '
                'and all its VDIs are gone', exits.EXISTS)
        cluster.format(
            **parsed_args.copies._asdict(), strict=parsed_args.strict,
            avoid_full=parsed_args.avoid_full,
            block_size_shift=parsed_args.block_size_shift,
            fixed_vnodes=parsed_args.fixed_vnodes, force=parsed_args.force)


class Recover(command.Command):
    """Go on without missing nodes; let recovery run, or postpone it."""

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        group = parser.add_mutually_exclusive_group(required=True)
        group.add_argument(
            '--force', action='store_true',
            help='at a start: go on without the nodes that are missing. '
                 'What only they have is lost')
        group.add_argument(
            '--enable', action='store_true',
            help='let recovery run again, after --disable')
        group.add_argument(
            '--disable', action='store_true',
            help='move nothing when nodes come or go, for maintenance; what '
                 'clients ask for is recovered all the same')
        return parser

    def take_action(self, parsed_args):
        cluster = self.app.client.cluster
        if parsed_args.force:
            cluster.recover_force()
        else:
            cluster.recover_enable(parsed_args.enable)


class Reweight(command.Command):
    """Weigh the nodes by the disks that they have now."""

    def take_action(self, parsed_args):
        silent = self.app.client.cluster.reweight()
        if silent:
            raise exits.Stop('these do not answer, and keep their weights: '
                             + ', '.join(silent), exits.SYSTEM)


class Shutdown(command.Command):
    """Stop all sheep in order."""

    def take_action(self, parsed_args):
        self.app.client.cluster.shutdown()


def redundancy_of(text):
    """A number of copies, or D:P, for argparse."""
    try:
        return redundancy.parse(text)
    except errors.InvalidParameters as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None
