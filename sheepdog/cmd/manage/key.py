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
"""sheepdog-manage key …: the keys of a cluster, in a file."""

import os
import time

from cliff import command
from cliff import lister

from sheepdog import client
from sheepdog.client import key_file
from sheepdog.cmd import certificates
from sheepdog.cmd import exits
from sheepdog.model import errors
from sheepdog.model import keys

CHECK_SECONDS = 10.0

CREATED = """\
The key %(id)s is in %(path)s, which only its owner can read.
Copy it to every host of the cluster, with the same mode, by a safe way
(scp -p). sheep finds it at %(default)s, or by --key-file PATH;
dog, sheepdog-manage and the client library also by %(variable)s.
"""

ROTATED = """\
The key %(id)s is current now; %(old)s is still accepted.
1. Copy %(path)s to every host of the cluster and to all who use its tools,
   in any order: sheep that run notice it within seconds.
2. sheepdog-manage key check %(path)s
   tells which sheep have it.
3. When all have: sheepdog-manage key rotate --finish %(path)s
   drops the old one. Copy the file once more, in any order.
"""

FINISHED = """\
Only the key %(id)s is accepted from now on. Copy %(path)s to
every host of the cluster and to all who use its tools, in any order.
"""


class FileCommand(command.Command):
    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        _add_file(parser)
        return parser

    def tell(self, text, **fields):
        print(text % dict(fields, default=key_file.DEFAULT_PATH,
                          variable=key_file.VARIABLE),
              end='', file=self.app.stdout)


def _add_file(parser):
    parser.add_argument(
        'file', nargs='?', default=key_file.DEFAULT_PATH, metavar='FILE',
        help='of the keys (default: %(default)s)')


class Create(FileCommand):
    """Make the key of a new cluster."""

    def take_action(self, parsed_args):
        key = _new_key()
        _write(parsed_args.file, keys.Keyring((key,)), is_new=True)
        self.tell(CREATED, id=key.id, path=parsed_args.file)


class Rotate(FileCommand):
    """Replace the key of a cluster, without downtime.

    First a new key becomes the current one, and the old one is accepted
    further; then, with --finish, the old one is dropped.
    """

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--finish', action='store_true',
            help='drop all keys but the current one')
        return parser

    def take_action(self, parsed_args):
        path = parsed_args.file
        ring = key_file.read(path)
        if parsed_args.finish:
            _write(path, ring.only_current())
            self.tell(FINISHED, id=ring.current.id, path=path)
            return
        key = _new_key()
        _write(path, ring.with_new(key))
        self.tell(ROTATED, id=key.id, old=', '.join(ring.ids), path=path)


class List(lister.Lister):
    """List the keys in a file, by their ids."""

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        _add_file(parser)
        return parser

    def take_action(self, parsed_args):
        ring = key_file.read(parsed_args.file)
        return ('Id', 'State', 'Created'), [
            (key.id, 'current' if key is ring.current else 'accepted',
             key.created) for key in ring.keys]


class Check(lister.Lister):
    """Ask every sheep whether it accepts the current key of a file.

    The exit code is 2 if one of them does not, or does not answer.
    """

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        _add_file(parser)
        return parser

    def take_action(self, parsed_args):
        ring = key_file.read(parsed_args.file)
        options = self.app.options
        tls = certificates.tls_for(options.tls_dir)
        with client.Client(
                options.address or ['localhost'], timeout=options.timeout,
                port=options.port, keys=OneRing(ring), tls=tls) as asking:
            nodes = asking.nodes.list()
        rows = [(node['id'], node['host'], node['port'],
                 self._ask(node, ring.only_current(), tls))
                for node in nodes]
        if any(answer != 'accepted' for *_node, answer in rows):
            self.app.late_exit_code = exits.SYSTEM
        return ('Id', 'Host', 'Port', 'Key %s' % ring.current.id), rows

    def _ask(self, node, ring, tls) -> str:
        try:
            with client.Client([(node['host'], node['port'])], CHECK_SECONDS,
                               CHECK_SECONDS, keys=OneRing(ring),
                               tls=tls) as asking:
                asking.nodes.status()
        except errors.AccessRefused:
            return 'refused'
        except errors.SheepdogError as exc:
            return 'no answer: %s' % exc
        return 'accepted'


class OneRing:
    """For ``Client``: keys that do not change."""

    def __init__(self, ring):
        self._ring = ring

    def keyring(self):
        return self._ring


def _new_key() -> keys.Key:
    return keys.Key.of(os.urandom(keys.ID_BYTES + keys.SECRET_BYTES),
                       time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()))


def _write(path, ring, is_new=False):
    try:
        key_file.write(path, ring, is_new)
    except OSError as exc:
        raise exits.Stop('cannot write %s: %s' % (
            path, exc.strerror or exc), exits.SYSTEM) from None
    except key_file.KeyFileRefused as exc:
        raise exits.Stop(str(exc), exits.EXISTS) from None
