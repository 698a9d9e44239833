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

"""sheepdog-manage domain …"""

import argparse

from cliff import show

from sheepdog.cmd.images import domain
from sheepdog.cmd.images import qemu
from sheepdog.cmd.manage import columns
from sheepdog.cmd.manage import vdi
from sheepdog.cmd import progress
from sheepdog.cmd import signals


def _add_disk(parser):
    parser.add_argument('domain', metavar='DOMAIN',
                        help='of libvirt, shut off')
    parser.add_argument('disk', metavar='DISK',
                        help='its name in the machine, as vda')
    parser.add_argument('--connect', default='', metavar='URI',
                        help="of libvirt (default: as 'virsh uri' says)")


def _server(text):
    try:
        return domain.Server(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


class Import(show.ShowOne):
    """Move a disk of a virtual machine into a new VDI.

    The machine, of libvirt and shut off, uses the VDI over NBD from then on;
    its file stays as it is, and is not used any more. If that is not done to
    its end there is no VDI, and the machine is as it was.
    """

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        _add_disk(parser)
        parser.add_argument('name', metavar='NAME', help='of the new VDI')
        parser.add_argument(
            '--nbd', type=_server, default='127.0.0.1:10809',
            metavar='HOST:PORT|SOCKET',
            help='where the machine finds a sheep that serves NBD, best on '
            'its own host (default: %(default)s)')
        parser.add_argument('--tls', action='store_true',
                            help='it is to use TLS for that')
        vdi.add_copies(parser)
        return parser

    def take_action(self, parsed_args):
        server = parsed_args.nbd
        server.is_tls = parsed_args.tls
        shown = progress.Progress(self.app.stderr)
        try:
            with signals.ending_in_order():
                made = domain.move_in(
                    self.app.client,
                    domain.Domain(parsed_args.domain, parsed_args.connect),
                    parsed_args.disk, parsed_args.name,
                    parsed_args.copies._asdict(), server, shown)
        finally:
            shown.end()
        return ('domain', 'disk', 'name', 'vdi_id', 'size', 'written',
                'file'), (
            parsed_args.domain, parsed_args.disk, made['name'],
            '%06x' % made['vdi_id'], columns.Size(made['size']),
            columns.Size(made['written']), made['file'])


class Export(show.ShowOne):
    """Move a VDI that a virtual machine uses into a file.

    The machine, of libvirt and shut off, uses the file from then on; the VDI
    stays, and is not used any more. If that is not done to its end there is
    no file, and the machine is as it was.
    """

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        _add_disk(parser)
        parser.add_argument('image', metavar='FILE')
        parser.add_argument(
            '--image-format', choices=qemu.FORMATS, default='qcow2',
            metavar='FORMAT', help='of the file: %s (default: %%(default)s)'
            % ', '.join(qemu.FORMATS))
        parser.add_argument('--force', action='store_true',
                            help='replace a file of that name')
        return parser

    def take_action(self, parsed_args):
        shown = progress.Progress(self.app.stderr)
        try:
            with signals.ending_in_order():
                made = domain.move_out(
                    self.app.client,
                    domain.Domain(parsed_args.domain, parsed_args.connect),
                    parsed_args.disk, parsed_args.image,
                    parsed_args.image_format, shown, parsed_args.force)
        finally:
            shown.end()
        return ('domain', 'disk', 'name', 'image', 'size', 'format',
                'written'), (
            parsed_args.domain, parsed_args.disk, made['vdi'],
            parsed_args.image, columns.Size(made['size']),
            parsed_args.image_format, columns.Size(made['written']))
