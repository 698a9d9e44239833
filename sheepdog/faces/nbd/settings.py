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

"""What an operator may set of the NBD face."""

import dataclasses
from typing import Optional

from sheepdog.model import limits
from sheepdog.model import pem
from sheepdog.wire import nbd_handshake


@dataclasses.dataclass(frozen=True)
class NbdSettings:
    host: str = '127.0.0.1'
    port: Optional[int] = limits.NBD_PORT_DEFAULT
    """None: not over TCP. 0: any free one."""

    unix_path: str = ''
    """Empty: not over a unix socket."""
    unix_mode: int = 0o600

    default_export: str = ''
    """What a client gets that names nothing; empty: it is refused."""

    read_only: bool = False
    """Whatever is exported."""

    tls: nbd_handshake.Tls = nbd_handshake.Tls.NONE
    """Over the unix socket it is never required: its mode says who may."""
    tls_files: Optional[pem.TlsFiles] = None
    """Needed unless ``tls`` is NONE."""

    networks: tuple = ()
    """Of ``model.networks``: whose clients may connect over TCP, besides
    those on this machine. Empty: everybody who reaches the address."""
    read_only_networks: tuple = ()
    """Whose clients may only read. They may connect."""
    certificate_exports: tuple = ()
    """Of ``rules``: which clients may have which exports over TCP, by their
    certificates. Empty: any has all."""

    connections_max: int = 2000
    """One more is closed at once."""

    handshake_timeout_seconds: float = 30.0
    """From connecting to choosing an export. Without the time that opening
    the volume takes."""

    lock_wait_seconds: float = 3.0
    """How long to try again where a volume cannot be opened for a moment:
    its last user has just gone and the lock is not free yet, or the epoch
    changes."""

    request_timeout_seconds: float = 300.0
    """A connection with a request that is not answered in this time (and
    half of it more, at most) is closed. 0: never."""

    inflight_max: int = limits.CONNECTION_INFLIGHT_MAX
    """Requests of one connection under way, before no more are read."""

    inflight_bytes_max: int = limits.CONNECTION_INFLIGHT_MAX_BYTES
    """The same in bytes of reads and writes. One request may be over it."""

    def __post_init__(self):
        for name in ('connections_max', 'inflight_max', 'inflight_bytes_max',
                     'handshake_timeout_seconds'):
            if getattr(self, name) <= 0:
                raise ValueError('%s must be more than 0' % name)
        if self.request_timeout_seconds < 0:
            raise ValueError('request_timeout_seconds is less than 0')
        if self.tls is not nbd_handshake.Tls.NONE and self.tls_files is None:
            raise ValueError('TLS needs a certificate')
