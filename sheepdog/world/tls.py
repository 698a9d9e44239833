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

"""Certificates: from files to what a connection needs, and anew when the
files change."""

import logging
import os
import ssl
import time

from sheepdog.model import errors
from sheepdog.model import pem

LOG = logging.getLogger(__name__)

LOG_SECONDS = 60.0
"""Files that cannot be used are complained of at most this often."""


class TlsRefused(errors.InvalidParameters):
    """A certificate, a key or the authorities cannot be used."""


class Tls:
    """See ``api.Tls``. Looking whether a file is another one costs a few
    microseconds, a handshake a hundred times as much."""

    def __init__(self, files: pem.TlsFiles):
        """:raises TlsRefused: the files cannot be used"""
        self.files = files
        self._quiet_until = 0.0
        self._seen = self._look()
        self._load()

    def server_context(self) -> 'Context':
        self.refresh()
        return self._server

    def client_context(self) -> 'Context':
        self.refresh()
        return self._client

    def _load(self) -> None:
        server = _context(self.files, ssl.PROTOCOL_TLS_SERVER)
        if self.files.verify_clients:
            server.verify_mode = ssl.CERT_REQUIRED
        # No connection is resumed: each proves itself anew.
        server.num_tickets = 0
        client = _context(self.files, ssl.PROTOCOL_TLS_CLIENT)
        self._server, self._client = server, client

    def refresh(self) -> None:
        seen = self._look()
        if seen == self._seen:
            return
        try:
            self._load()
        except TlsRefused as error:
            # Half of them may have been replaced so far.
            now = time.monotonic()
            if now >= self._quiet_until:
                self._quiet_until = now + LOG_SECONDS
                LOG.error('TLS goes on with the old certificate: %s', error)
            return
        self._seen = seen
        LOG.info('TLS: the certificate in %s is in force',
                 self.files.certificate)

    def _look(self) -> list:
        return [_stamp(path) for path in self.files[:3] if path]


def _stamp(path: str):
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_size,
            status.st_mtime_ns, status.st_ctime_ns)


class Context(ssl.SSLContext):
    """:ivar certificate: what we show, DER"""

    certificate = b''

    def load_own(self, files: pem.TlsFiles) -> None:
        """:raises ValueError, OSError, ssl.SSLError: a file cannot be used
        """
        self.certificate = _first_of(files.certificate)
        self.load_cert_chain(files.certificate, files.key, _no_password)
        if _first_of(files.certificate) != self.certificate:
            raise ValueError('it is just being replaced')


def _first_of(path: str) -> bytes:
    with open(path, encoding='ascii', errors='replace') as file:
        return pem.first(file.read())


def _context(files: pem.TlsFiles, protocol) -> Context:
    """:raises TlsRefused: a file cannot be used"""
    context = Context(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= (ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION |
                        ssl.OP_NO_TICKET)
    # Hosts are known by their cluster's authority, not by their names.
    context.check_hostname = False
    for path in files[:3]:
        if path and not os.access(path, os.R_OK):
            raise TlsRefused('%s cannot be read' % path)
    try:
        context.load_own(files)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise TlsRefused('the certificate %s and the key %s cannot be used: '
                         '%s' % (*files[:2], error)) from None
    if not files.authorities:
        if files.verify_clients:
            raise TlsRefused('to verify clients, the file of the '
                             'authorities is needed')
        return context
    try:
        context.load_verify_locations(files.authorities)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise TlsRefused('the authorities in %s cannot be used: %s'
                         % (files.authorities, error)) from None
    return context


def _no_password():
    raise ValueError('the key has a password')
