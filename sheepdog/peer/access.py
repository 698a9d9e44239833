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
"""Who may do what on a connection.

A cluster connection (of sheep and tools) has to prove that it knows the
cluster's key. A tool on the unix socket need not, if the kernel says that it
runs as a user whom we trust. Where no key is configured, this machine is
trusted, and nobody else. A public connection (of clients that cannot prove
anything) is for this machine too, and for networks that are named.
"""

import dataclasses
import logging
from typing import Optional, Protocol

from sheepdog.model import errors
from sheepdog.model import keys as keys_model
from sheepdog.model import networks
from sheepdog.model import pem
from sheepdog.wire import hello
from sheepdog.world import refusals

LOG = logging.getLogger(__name__)


class KeySource(Protocol):
    """Where the keys come from; they may change while we run."""

    def keyring(self) -> keys_model.Keyring:
        """As of now. Cheap: it is asked for with every HELLO."""

    is_watched: bool
    """They may change: ask again now and then."""


@dataclasses.dataclass(frozen=True)
class StaticKeys:
    """A ``KeySource`` of keys that stay."""

    ring: keys_model.Keyring
    is_watched = False

    def keyring(self) -> keys_model.Keyring:
        return self.ring


@dataclasses.dataclass(frozen=True)
class AccessSettings:
    """``keys`` is None where there are none. ``trusted_uids`` may use the
    unix socket, ``public_networks`` (of ``ipaddress``) may speak the native
    protocol. ``allow_unauthenticated``: whoever reaches us may do anything.
    With ``tls_files`` cluster connections over TCP are under TLS, and both
    sides show certificates; where it is not required, also in clear.
    """

    keys: Optional[KeySource] = None
    trusted_uids: tuple = (0,)
    public_networks: tuple = ()
    allow_unauthenticated: bool = False
    tls_files: Optional[pem.TlsFiles] = None
    is_tls_required: bool = True


class Access:
    """See the module.

    :ivar refused_cluster, refused_public: how many were refused so far
    :ivar tls: ``world.api.Tls``, or None
    :raises TlsRefused: the certificate cannot be used
    """

    def __init__(self, world, settings: AccessSettings):
        self.settings = settings
        self.refused_cluster = 0
        self.refused_public = 0
        self._refusals = refusals.Refusals(world.clock, LOG)
        self.tls = None
        if settings.tls_files is not None:
            self.tls = world.network.tls(settings.tls_files)

    @property
    def is_tls_due(self) -> bool:
        return self.tls is not None and self.settings.is_tls_required

    @property
    def is_watched(self) -> bool:
        return self.settings.keys is not None and (
            self.settings.keys.is_watched)

    def describe(self) -> dict:
        """For people: ids of keys, never secrets."""
        ring = self.keyring()
        return {'keys': ring.ids if ring is not None else [],
                'allow_unauthenticated':
                    self.settings.allow_unauthenticated,
                'public_networks': [
                    str(network) for network in
                    self.settings.public_networks],
                'tls': ('none' if self.tls is None else
                        'required' if self.is_tls_due else 'offered'),
                'refused_cluster': self.refused_cluster,
                'refused_public': self.refused_public}

    def keyring(self) -> Optional[keys_model.Keyring]:
        keys = self.settings.keys
        return None if keys is None else keys.keyring()

    def is_proof_due(self, connection, role: str) -> bool:
        """Must who speaks on it prove that it knows the key?"""
        if connection.is_local:
            # A peer never comes this way. Trust in a user ends at tools:
            # messages between sheep are for those who have the key.
            return (role != 'tool' or
                    connection.peer_uid not in self.settings.trusted_uids)
        if self.settings.allow_unauthenticated:
            return False
        return self.settings.keys is not None or not is_this_machine(
            connection)

    def check_encrypted(self, connection) -> None:
        """:raises AccessRefused: it is not, and should be"""
        if self.is_tls_due and not (connection.is_local or
                                    connection.is_encrypted):
            raise errors.AccessRefused(
                'this sheep takes cluster connections over TCP under TLS '
                'only: name certificates with [security] tls_cert, tls_key '
                'and tls_ca, and for tools with --tls-dir')

    @property
    def must_servers_prove(self) -> bool:
        """As a client: must those whom we connect to?"""
        return not self.settings.allow_unauthenticated

    def may_be_public(self, connection) -> bool:
        if connection.is_local:
            return connection.peer_uid in self.settings.trusted_uids
        if is_this_machine(connection):
            return True
        return networks.contain(self.settings.public_networks,
                                connection.peer_host)

    def refuse_cluster(self, connection, reason) -> None:
        self.refused_cluster += 1
        self._refusals.note(source_of(connection), 'no cluster '
                            'connection: %s' % reason)

    def refuse_public(self, connection) -> None:
        self.refused_public += 1
        self._refusals.note(
            source_of(connection), 'no native client is taken from there: '
            'it is in none of public_networks')

    def complain(self, address: str, reason) -> None:
        """Somebody whom we connected to refuses us, or is not genuine."""
        self._refusals.note(address, str(reason))


def needs_seal(connection) -> bool:
    """Do frames need a code against changes on their way? Not where the
    kernel carries them, nor where TLS protects them already."""
    return not (connection.is_local or connection.is_encrypted)


def binding_of(connection, is_server: bool) -> bytes:
    """What the proof of the key is bound to; b'' in clear."""
    if not connection.is_encrypted:
        return b''
    ours, theirs = connection.certificates
    return hello.binding(theirs, ours) if is_server else hello.binding(
        ours, theirs)


def source_of(connection) -> str:
    """Whoever it is, without the port: each connection has another."""
    return connection.peer_host or connection.peername


def is_this_machine(connection) -> bool:
    return connection.is_local or networks.is_loopback(connection.peer_host)
