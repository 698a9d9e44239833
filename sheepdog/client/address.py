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

"""Where a sheep listens: ``host:port``, or a unix socket's path."""

import dataclasses
import os

from sheepdog.model import errors
from sheepdog.model import limits


@dataclasses.dataclass(frozen=True)
class Address:
    """``path`` is set for a unix socket, else ``host`` and ``port``."""

    host: str = ''
    port: int = 0
    path: str = ''

    def __str__(self):
        if self.path:
            return 'unix:' + self.path
        if ':' in self.host:
            return '[%s]:%d' % (self.host, self.port)
        return '%s:%d' % (self.host, self.port)


def parse_address(address, default_port=limits.PORT_DEFAULT) -> Address:
    """An ``Address`` from one, from ``(host, port)`` or from text.

    Text is ``host``, ``host:port``, ``[v6]:port``, ``v6``, ``unix:PATH`` or
    an absolute path.

    :raises InvalidParameters: it is none of these
    """
    if isinstance(address, Address):
        return address
    if isinstance(address, tuple):
        host, port = address
        return Address(host, _port(str(port), address))
    address = os.fspath(address)
    if address.startswith('unix:'):
        address = address[len('unix:'):]
        if not address:
            raise errors.InvalidParameters("'unix:' needs a path behind it")
        return Address(path=address)
    if address.startswith('/'):
        return Address(path=address)
    if address.startswith('['):
        host, bracket, port = address[1:].partition(']')
        if not bracket or port and not port.startswith(':'):
            raise errors.InvalidParameters(
                "'%s' is not an address" % address)
        port = port[1:]
    elif address.count(':') > 1:
        host, port = address, ''
    else:
        host, _, port = address.partition(':')
    return Address(host or 'localhost',
                   _port(port, address) if port else default_port)


def _port(text, address) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 9
            and 0 < int(text) < 65536):
        raise errors.InvalidParameters(
            "'%s' is not an address: the port is a number from 1 to 65535"
            % (address,))
    return int(text)
