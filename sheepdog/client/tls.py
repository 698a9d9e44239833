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

"""TLS for the blocking library: a socket that many threads may use.

Python's own TLS sockets are not safe for one thread that reads and another
that writes, so OpenSSL works in memory here, under a lock that is never held
while anything waits.
"""

import contextlib
import os
import ssl
import threading

from sheepdog.model import errors
from sheepdog.model import pem
from sheepdog.wire import hello

PIECE_BYTES = 64 << 10


class TlsRefused(errors.AccessRefused):
    """A file cannot be used, or the other side is not to be believed."""


def files_in(directory: str) -> pem.TlsFiles:
    """``client-cert.pem``, ``client-key.pem`` and ``ca-cert.pem``: the
    names by which QEMU and libnbd look for them, too."""
    return pem.TlsFiles(*(
        os.path.join(directory, name) for name in
        ('client-cert.pem', 'client-key.pem', 'ca-cert.pem')))


class ClientTls:
    """Files that were read, for any number of connections.

    :raises TlsRefused: one cannot be used
    """

    def __init__(self, files: pem.TlsFiles):
        self._context = context_of(files)
        try:
            with open(files.certificate, encoding='ascii',
                      errors='replace') as file:
                self._certificate = pem.first(file.read())
        except (OSError, ValueError) as error:
            raise TlsRefused('%s cannot be used: %s' % (
                files.certificate, error)) from None

    def wrap(self, sock, name) -> 'TlsSocket':
        """See ``TlsSocket``; closes the socket where it raises."""
        try:
            return TlsSocket(sock, self._context, name, self._certificate)
        except BaseException:
            sock.close()
            raise


def context_of(files: pem.TlsFiles) -> ssl.SSLContext:
    """:raises TlsRefused: a file cannot be used"""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Sheep are known by their cluster's authority, not by their names.
    context.check_hostname = False
    for path in files[:3]:
        if not os.access(path, os.R_OK):
            raise TlsRefused('%s cannot be read' % path)
    try:
        context.load_verify_locations(files.authorities)
        context.load_cert_chain(files.certificate, files.key, _no_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise TlsRefused('%s, %s and %s cannot be used together: %s' % (
            *files[:3], error)) from None
    return context


def _no_password():
    raise ValueError('the key has a password')


class TlsSocket:
    """Over a connected socket. Its methods are those of a socket that does
    not block.

    :ivar binding: of the certificates of both, see ``wire.hello``
    """

    def __init__(self, sock, context: ssl.SSLContext, name,
                 certificate: bytes = b''):
        """Shakes hands, within the socket's time limit.

        :raises TlsRefused: one side does not believe the other
        :raises OSError: no TLS there, or no answer
        """
        self._socket = sock
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing)
        self._lock = threading.Lock()
        self._scratch = memoryview(bytearray(PIECE_BYTES))
        self._unsent = memoryview(b'')
        self._taken = 0
        try:
            self._shake_hands()
        except ssl.SSLCertVerificationError as exc:
            raise TlsRefused('%s shows a certificate that is not to be '
                             'believed: %s' % (name, exc.verify_message)
                             ) from None
        self.binding = hello.binding(
            certificate, self._object.getpeercert(True) or b'')

    def fileno(self) -> int:
        return self._socket.fileno()

    def setblocking(self, is_blocking: bool) -> None:
        self._socket.setblocking(is_blocking)

    def shutdown(self, how: int) -> None:
        """Says so to the other side first, if it is taken at once."""
        with contextlib.suppress(OSError), self._lock:
            with contextlib.suppress(ssl.SSLError):
                self._object.unwrap()
            if not self._unsent:
                self._socket.send(self._outgoing.read())
        self._socket.shutdown(how)

    def close(self) -> None:
        self._socket.close()

    def sendmsg(self, buffers) -> int:
        """Bytes taken of ``buffers``. After a BlockingIOError the next call
        must begin with the same bytes: they are encrypted already.

        :raises BlockingIOError: the kernel takes no more
        :raises OSError: the connection is lost
        """
        with self._lock:
            if not self._unsent:
                self._taken = self._encrypt(buffers)
                self._unsent = memoryview(self._outgoing.read())
            while self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent):]
            return self._taken

    def recv_into(self, view) -> int:
        """0 at the end.

        :raises BlockingIOError: nothing is there
        :raises OSError: the connection is lost, or was tampered with
        """
        with self._lock:
            while True:
                try:
                    return self._object.read(len(view), view)
                except ssl.SSLWantReadError:
                    if not self._take_in():
                        return 0

    def _encrypt(self, buffers) -> int:
        taken = 0
        for buffer in buffers:
            if taken >= PIECE_BYTES:
                break
            buffer = buffer[:PIECE_BYTES - taken]
            while buffer:
                written = self._object.write(buffer)
                taken += written
                buffer = buffer[written:]
        return taken

    def _take_in(self) -> int:
        count = self._socket.recv_into(self._scratch)
        self._incoming.write(self._scratch[:count])
        return count

    def _shake_hands(self):
        while True:
            try:
                self._object.do_handshake()
                return
            except ssl.SSLWantReadError:
                self._socket.sendall(self._outgoing.read())
                if not self._take_in():
                    raise ConnectionResetError(
                        'closed in the TLS handshake') from None
            finally:
                if self._outgoing.pending:
                    self._socket.sendall(self._outgoing.read())
