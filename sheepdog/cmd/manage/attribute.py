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

"""sheepdog-manage vdi attribute …"""

import os

from cliff import command
from cliff import lister

from sheepdog.model import limits


class List(lister.Lister):
    """List the attributes of a VDI."""

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument('name')
        return parser

    def take_action(self, parsed_args):
        return ('Key',), [
            (key.decode(errors='backslashreplace'),)
            for key in self.app.client.vdis.attributes(parsed_args.name)]


class Show(command.Command):
    """Write the value of an attribute to standard output."""

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument('name')
        parser.add_argument('key')
        return parser

    def take_action(self, parsed_args):
        output = self.app.stdout.buffer
        output.write(self.app.client.vdis.attribute(
            parsed_args.name, os.fsencode(parsed_args.key)))
        output.flush()


class Set(command.Command):
    """Set an attribute of a VDI."""

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument('name')
        parser.add_argument('key')
        parser.add_argument('value', nargs='?',
                            help='(default: what comes on standard input)')
        parser.add_argument(
            '--exclusive', action='store_true',
            help='create it: of several who try at once, one succeeds')
        return parser

    def take_action(self, parsed_args):
        if parsed_args.value is None:
            value = self.app.stdin.buffer.read(
                limits.ATTRIBUTE_VALUE_MAX_BYTES + 1)
        else:
            value = os.fsencode(parsed_args.value)
        self.app.client.vdis.set_attribute(
            parsed_args.name, os.fsencode(parsed_args.key), value,
            parsed_args.exclusive)


class Delete(command.Command):
    """Delete an attribute of a VDI."""

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument('name')
        parser.add_argument('key')
        return parser

    def take_action(self, parsed_args):
        self.app.client.vdis.delete_attribute(
            parsed_args.name, os.fsencode(parsed_args.key))
