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

"""What a command of dog is, and what it is given to run with."""

import dataclasses
import functools
import json
import sys
import typing

from sheepdog import client
from sheepdog.cmd import certificates
from sheepdog.cmd import exits
from sheepdog.cmd import keys
from sheepdog.cmd import options
from sheepdog.model import errors
from sheepdog.model import limits
from sheepdog.model import sizes

COMMON = (
    options.Option('a', 'address', 'of a sheep (default: localhost); more '
                   'than one with commas', 'ADDRESS'),
    options.Option('p', 'port', 'of that sheep (default: 7000)', 'PORT'),
    options.Option('', 'key-file', 'of the cluster (default: '
                   'SHEEPDOG_KEY_FILE, or that of the sheep here)', 'PATH'),
    options.Option('', 'tls-dir', 'client-cert.pem, client-key.pem and '
                   'ca-cert.pem (default: SHEEPDOG_TLS_DIR, or those of the '
                   'sheep here)', 'DIR'),
    options.Option('r', 'raw', 'for scripts: no header, plain numbers'),
    options.Option('v', 'verbose', 'tell more'),
    options.Option('T', 'time', 'tell how long it took'),
    options.Option('', 'json', 'print JSON'),
    options.Option('h', 'help', 'print this help'),
)


@dataclasses.dataclass(frozen=True)
class Command:
    """``words`` name it; ``arguments`` is for the usage line, ``counts``
    are the fewest and most of them."""

    words: tuple
    run: typing.Callable
    help: str
    arguments: str = ''
    counts: tuple = (0, 0)
    options: tuple = ()

    @property
    def usage(self) -> str:
        parts = ['dog', *self.words]
        if self.options:
            parts.append('[OPTION]...')
        return ' '.join(parts + self.arguments.split())


class Session:
    """One run of a command.

    :param values: of the options, by key
    :param arguments: those behind the words of the command
    :param streams: where to read and write: ``stdin``, ``stdout``,
        ``stderr`` attributes as of ``sys``
    """

    def __init__(self, values, arguments, streams=sys):
        self.values = values
        self.arguments = arguments
        self.streams = streams
        self.is_raw = values.get('raw', False)
        self.is_verbose = values.get('verbose', False)
        self.is_json = values.get('json', False)
        self.is_forced = values.get('force', False)

    @functools.cached_property
    def client(self) -> client.Client:
        port = limits.PORT_DEFAULT
        if 'port' in self.values:
            port = whole_number('-p', self.values['port'], 1, 65535)
        try:
            return client.Client(
                self.values.get('address', 'localhost').split(','),
                port=port,
                key_file=keys.path_for(self.values.get('key_file')),
                tls=certificates.tls_for(self.values.get('tls_dir')))
        except errors.InvalidParameters as exc:
            raise exits.UsageError(str(exc)) from None

    def close(self):
        if 'client' in self.__dict__:
            self.client.close()

    def argument(self, index, default=None):
        """The argument at that place, or ``default``."""
        if index < len(self.arguments):
            return self.arguments[index]
        return default

    def size_argument(self, index, default=None):
        """As ``argument``, for a size: bytes."""
        text = self.argument(index)
        if text is None:
            return default
        try:
            return sizes.parse_size(text)
        except errors.InvalidParameters as exc:
            raise exits.UsageError(str(exc)) from None

    def snapshot(self) -> dict:
        """Tag and id that -s stands for."""
        return snapshot_of(self.values.get('snapshot', ''))

    def show(self, result, lines=()):
        """Print ``lines``, or ``result`` where JSON is wanted."""
        if self.is_json:
            lines = [json.dumps(result, indent=2)]
        for line in lines:
            print(line, file=self.streams.stdout)

    def warn(self, text):
        print('dog: ' + text, file=self.streams.stderr)

    def confirm(self, warning) -> None:
        """Ask on a terminal whether to go on; -f has said so already.

        :raises Stop: the answer is no, or there is nobody to ask
        """
        if self.is_forced:
            return
        if not self.streams.stdin.isatty():
            raise exits.Stop('%s Nothing was done: -f does it without a '
                             'question' % warning)
        while True:
            print('%s Continue? [yes/no]: ' % warning, end='', flush=True,
                  file=self.streams.stderr)
            answer = self.streams.stdin.readline().strip().lower()
            if answer == 'yes':
                return
            if answer in ('no', ''):
                raise exits.Stop('nothing was done')


def snapshot_of(text) -> dict:
    """Tag and id that it stands for."""
    if text.isascii() and text.isdigit() and int(text):
        return {'tag': '', 'snap_id': int(text)}
    return {'tag': text, 'snap_id': 0}


def whole_number(name, text, low, high) -> int:
    """:raises UsageError: it is none, or not between low and high"""
    if (not text.isascii() or not text.isdigit()
            or not low <= int(text) <= high):
        raise exits.UsageError("%s: '%s' is not a number from %d to %d"
                               % (name, text, low, high))
    return int(text)
