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

"""sheepdog-manage image …"""

import contextlib

from cliff import show

from sheepdog.cmd.images import qemu
from sheepdog.cmd.images import transfer
from sheepdog.cmd.manage import columns
from sheepdog.cmd.manage import vdi
from sheepdog.cmd import progress
from sheepdog.cmd import signals


class Import(show.ShowOne):
    """Make a VDI of an image.

    Only what is not zero is copied. If that is not done to its end there is
    no VDI.
    """

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument('image', metavar='FILE|URL',
                            help='URLs are of %s' % ', '.join(qemu.URLS))
        parser.add_argument('name', metavar='NAME', help='of the new VDI')
        parser.add_argument(
            '--image-format', choices=qemu.FORMATS, default='',
            metavar='FORMAT',
            help='of the image: %s (default: as it looks)'
            % ', '.join(qemu.FORMATS))
        vdi.add_copies(parser)
        return parser

    def take_action(self, parsed_args):
        shown = progress.Progress(self.app.stderr)
        try:
            with signals.ending_in_order(), contextlib.ExitStack() as stack:
                path = parsed_args.image
                if qemu.is_url(path):
                    path = stack.enter_context(qemu.fetched(path, shown))
                made = transfer.import_image(
                    self.app.client,
                    qemu.look_at(path, parsed_args.image_format),
                    parsed_args.name, parsed_args.copies._asdict(), shown)
        finally:
            shown.end()
        return ('name', 'vdi_id', 'size', 'format', 'written'), (
            made['name'], '%06x' % made['vdi_id'],
            columns.Size(made['size']), made['format'],
            columns.Size(made['written']))


class Export(show.ShowOne):
    """Make an image of a VDI.

    Only what is not zero is copied. The image has its name only when it is
    whole.
    """

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument('name', metavar='NAME', help='of the VDI')
        parser.add_argument('image', metavar='FILE')
        parser.add_argument(
            '--image-format', choices=qemu.FORMATS, default='raw',
            metavar='FORMAT', help='of the image: %s (default: %%(default)s)'
            % ', '.join(qemu.FORMATS))
        parser.add_argument('--snapshot', default='', metavar='TAG',
                            help='the snapshot with that tag')
        parser.add_argument('--force', action='store_true',
                            help='replace an image of that name')
        return parser

    def take_action(self, parsed_args):
        with signals.ending_in_order(), self.app.client.open(
                parsed_args.name, parsed_args.snapshot,
                read_only=True) as volume:
            shown = progress.Progress(self.app.stderr, volume.size)
            try:
                made = transfer.export_volume(
                    volume, parsed_args.image, parsed_args.image_format,
                    shown, parsed_args.force)
            finally:
                shown.end()
        return ('image', 'size', 'format', 'written'), (
            parsed_args.image, columns.Size(volume.size),
            parsed_args.image_format, columns.Size(made['written']))
