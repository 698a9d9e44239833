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

"""The client: which sheep to talk to, trying again, and the calls.

A call goes to one of the given sheep. When that one cannot be reached or
asks for patience, the same call goes to the next, until the time limit;
when none of them can be reached at all, the call fails at once. Calls that
change something carry an operation id, by which the cluster knows a second
attempt and does nothing twice.
"""

import threading
import uuid

from sheepdog.client import address as addresses_module
from sheepdog.client import calls
from sheepdog.client import connection as connection_module
from sheepdog.client import key_file as key_file_module
from sheepdog.client import patience as patience_module
from sheepdog.client import volume
from sheepdog.model import errors
from sheepdog.model import limits


class Client:
    """Talks to a cluster. Thread-safe.

    :param addresses: of one or more sheep, see ``address.parse_address``
    :param timeout: seconds that a call may take, attempts included
    :param attempt_timeout: seconds without an answer after which the next
        sheep is tried
    :param connect_timeout: seconds for one attempt to connect
    :param key_file: of the cluster's key, '' for none; without it, see
        ``key_file``
    :param keys: instead, an object with a method ``keyring``
    :param port: where an address names none
    :param tls: ``tls.ClientTls``: over TCP, speak to no sheep without
    """

    def __init__(self, addresses=('localhost',), timeout=60.0,
                 connect_timeout=5.0, key_file=None,
                 port=limits.PORT_DEFAULT, attempt_timeout=15.0, keys=None,
                 tls=None):
        if isinstance(addresses, str):
            addresses = [addresses]
        self.addresses = [addresses_module.parse_address(address, port)
                          for address in addresses]
        if not self.addresses:
            raise errors.InvalidParameters('no address of a sheep was given')
        self.timeout = timeout
        self._attempt_timeout = attempt_timeout
        self._connect_timeout = connect_timeout
        self._keys = keys or key_file_module.find(key_file)
        self._tls = tls
        self._lock = threading.Lock()
        self._connections = {}
        self._first = 0
        self.cluster = calls.ClusterCalls(self)
        self.nodes = calls.NodeCalls(self)
        self.vdis = calls.VdiCalls(self)

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.close()

    def close(self):
        """Close the connections; volumes that are open have their own."""
        with self._lock:
            connections = list(self._connections.values())
            self._connections.clear()
        for connection in connections:
            connection.close()

    def open(self, name, tag='', snap_id=0,
             read_only=False, alone=False) -> 'volume.RemoteVolume':
        """Open a VDI; see ``volume.RemoteVolume``.

        :param alone: also those who come to the same sheep are shut out, who
            else share it
        :raises NoVdi, VdiLocked, SheepdogError:
        """
        return volume.RemoteVolume(self, name, tag, snap_id, read_only,
                                   alone)

    def call(self, method, arguments=None, timeout=None):
        """Have one of the sheep carry out ``method``; it may be sent again.

        :returns: the result, as JSON has it
        :raises SheepdogError: what went wrong
        """
        patience = patience_module.Patience(
            self.timeout if timeout is None else timeout)
        previous = None
        while True:
            try:
                connection = self.connection(patience)
            except errors.Unreachable as exc:
                raise exc from previous
            try:
                return connection.ask(method, arguments or {},
                                      self.attempt_seconds(patience))
            except errors.Transient as exc:
                previous = exc
                self.avoid(connection)
                patience.pause(exc)

    def change(self, method, arguments=None, timeout=None):
        """As ``call``, for what must not be done twice."""
        arguments = dict(arguments or {}, operation_id=uuid.uuid4().hex)
        return self.call(method, arguments, timeout)

    def connection(self, patience=None) -> connection_module.Connection:
        """The one that calls go to just now.

        :raises Unreachable: none of the sheep takes one
        :raises AccessRefused: none takes our key
        """
        with self._lock:
            return self._first_that(self._reuse, patience or (
                patience_module.Patience(self.timeout)))

    def connect(self, patience) -> connection_module.Connection:
        """A connection of the caller's own, to the first sheep that takes
        one.

        :raises Unreachable: none of them does
        """
        return self._first_that(self._open, patience)

    def attempt_seconds(self, patience) -> float:
        """How long to wait for one answer: a sheep may hang, or stand
        still, and another one have it."""
        if len(self.addresses) == 1:
            return patience.left_seconds
        return min(patience.left_seconds, self._attempt_timeout)

    def avoid(self, connection):
        """Try the sheep of this connection last, from now on."""
        index = self.addresses.index(connection.address)
        if self._first == index:
            self._first = (index + 1) % len(self.addresses)

    def _first_that(self, function, patience):
        reasons = []
        refusal = None
        count = len(self.addresses)
        first = self._first
        for step in range(count):
            index = (first + step) % count
            try:
                connection = function(self.addresses[index], patience)
            except errors.Transient as exc:
                reasons.append(str(exc))
            except errors.AccessRefused as exc:
                # Another one may have got the new key already.
                refusal = refusal or exc
            else:
                self._first = index
                return connection
        if refusal is not None:
            raise refusal
        raise errors.Unreachable('; '.join(reasons))

    def _open(self, address, patience):
        return connection_module.Connection.open(
            address, self.timeout,
            min(self._connect_timeout, patience.left_seconds),
            self._keys.keyring() if self._keys is not None else None,
            self._tls)

    def _reuse(self, address, patience):
        connection = self._connections.get(address)
        if connection is None or connection.is_lost:
            connection = self._open(address, patience)
            self._connections[address] = connection
        return connection
