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
"""The cluster's keys, and the text of the file they are kept in.

A cluster has one key, or several while one takes over from another: all are
accepted, the first is the one that is offered first. A line of the file is
a key: its id, when it was made (UTC), its secret as 64 hexadecimal digits.
No error and no ``repr`` shows a secret.
"""

import dataclasses
import re

from sheepdog.model import errors
from sheepdog.model import limits

SECRET_BYTES = 32
ID_BYTES = 4

_LINE = re.compile(r'([0-9a-f]{8})\s+([0-9TZ:-]{1,32})\s+([0-9a-f]{64})')

_HEAD = """\
# The key of a Sheepdog cluster: whoever has this file is its administrator.
# Written by "sheepdog-manage key". A line is a key (id, made at, secret);
# all of them are accepted, the first is the current one.
"""


@dataclasses.dataclass(frozen=True)
class Key:
    id: str
    secret: bytes = dataclasses.field(repr=False)
    created: str = ''

    @classmethod
    def of(cls, chance: bytes, created: str = '') -> 'Key':
        """Made of ``ID_BYTES + SECRET_BYTES`` unguessable bytes."""
        assert len(chance) == ID_BYTES + SECRET_BYTES
        return cls(chance[:ID_BYTES].hex(), chance[ID_BYTES:], created)


@dataclasses.dataclass(frozen=True)
class Keyring:
    """One or more keys, the current one first."""

    keys: tuple

    @property
    def current(self) -> Key:
        return self.keys[0]

    @property
    def ids(self) -> list:
        return [key.id for key in self.keys]

    def get(self, key_id):
        """The key of that id, None where there is none."""
        for key in self.keys:
            if key.id == key_id:
                return key
        return None

    def with_new(self, key: Key) -> 'Keyring':
        """``key`` is the current one from now on; the others stay.

        :raises InvalidParameters: there are too many then
        """
        if len(self.keys) >= limits.CLUSTER_KEYS_MAX:
            raise errors.InvalidParameters(
                'there are %d keys already, and no more are allowed: drop '
                'the old ones first' % len(self.keys))
        return Keyring((key,) + self.keys)

    def only_current(self) -> 'Keyring':
        return Keyring(self.keys[:1])


def pack(keyring: Keyring) -> bytes:
    """The content of a key file."""
    lines = ['%s %s %s\n' % (key.id, key.created or '-', key.secret.hex())
             for key in keyring.keys]
    return (_HEAD + ''.join(lines)).encode()


def unpack(content: bytes) -> Keyring:
    """:raises InvalidParameters: it is no key file; says the line's number,
        not what is in it
    """
    found = []
    for number, line in enumerate(content.split(b'\n'), 1):
        line = line.strip()
        if not line or line.startswith(b'#'):
            continue
        match = _LINE.fullmatch(line.decode('ascii', 'replace'))
        if match is None:
            raise errors.InvalidParameters(
                'line %d is no key (an id, a time, 64 hexadecimal digits)'
                % number)
        key_id, created, secret = match.groups()
        found.append(Key(key_id, bytes.fromhex(secret), created.strip('-')))
    if not found:
        raise errors.InvalidParameters('there is no key in it')
    if len(found) > limits.CLUSTER_KEYS_MAX:
        raise errors.InvalidParameters(
            'there are %d keys in it, more than %d' % (
                len(found), limits.CLUSTER_KEYS_MAX))
    if len({key.id for key in found}) < len(found):
        raise errors.InvalidParameters('an id is there twice')
    return Keyring(tuple(found))
