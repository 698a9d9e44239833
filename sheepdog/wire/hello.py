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
"""HELLO: how a connection becomes a cluster connection. Both roles, no I/O.

Payloads are JSON objects. Without proof (development, or a unix socket
whose user is trusted) there is one round::

    client  protocol, role ("peer" or "tool"), incarnation, for, lane
    server  incarnation, tag

``incarnation`` is who speaks, ``for`` the incarnation meant, ``lane`` says
which of the connections between the two it is (these of a peer only: a later
one takes the place of an earlier one in the same lane), ``tag`` the number
that all frames carry from then on. Who knows the cluster's key adds to the
first a fresh ``nonce`` and the ids of its ``keys``, the current one first,
and there are two rounds::

    client  protocol, role, incarnation, for, lane, nonce, keys
    server  incarnation, nonce, key         the first offered that it knows
    client  proof = HMAC(key, "client", transcript)
    server  proof = HMAC(key, "server", transcript, tag), tag

The transcript is a hash of the first two payloads as they were sent, byte by
byte: whatever is changed in them, the proofs are wrong. Under TLS both say
``binding`` ("certificates") besides, and the transcript goes on with the
hashes of the certificates that both have seen, the client's first: somebody
in between who has another certificate of the same authority cannot pass the
proofs on. The server proves
itself last, so that a stranger learns nothing made with the key. The keys of
the seals (``wire.seal``), one for each direction, are made from key and
transcript in the same way. HMAC and hash are SHA-256; each use has a label of
its own, so nothing that one side says is an answer of the other.
"""

import hashlib
import hmac

from sheepdog.model import errors
from sheepdog.model import keys
from sheepdog.model import limits
from sheepdog.wire import peer as wire

NONCE_BYTES = 32
_PROOF_BYTES = 32

ROLES = ('peer', 'tool')

_TRANSCRIPT = b'sheepdog cluster hello 1\0'
_CLIENT_PROOF = b'sheepdog client proof 1\0'
_SERVER_PROOF = b'sheepdog server proof 1\0'
_CLIENT_SEAL = b'sheepdog client seal 1\0'
_SERVER_SEAL = b'sheepdog server seal 1\0'

_BINDING = 'certificates'

NOT_BOUND = ('under TLS the proof of the cluster key is bound to both '
             'certificates, and the other side says nothing of that: it is '
             'of an earlier release')
BOUND = ('the other side speaks under TLS, and here it arrives in clear: '
         'there is somebody in between')

NO_KEY = ('this sheep asks for proof of the cluster key, and none was '
          'offered')


def binding(client: bytes, server: bytes) -> bytes:
    """Of the certificates (DER) that both sides have shown."""
    return hashlib.sha256(client).digest() + hashlib.sha256(server).digest()


def transcript(opening: bytes, challenge: bytes, bound: bytes = b'') -> bytes:
    """``bound``: see ``binding``; b'' in clear."""
    digest = hashlib.sha256(_TRANSCRIPT)
    for payload in (opening, challenge, bound)[:3 if bound else 2]:
        digest.update(len(payload).to_bytes(8, 'little'))
        digest.update(payload)
    return digest.digest()


def _code(key: keys.Key, label: bytes, said: bytes) -> bytes:
    return hmac.digest(key.secret, label + said, 'sha256')


def _server_said(said: bytes, tag: int) -> bytes:
    return said + tag.to_bytes(4, 'little')


def _read(payload) -> dict:
    """:raises InvalidParameters: too long, or not a JSON object"""
    if len(payload) > limits.HELLO_MAX_BYTES:
        raise errors.InvalidParameters(
            'a HELLO of %d bytes is over the limit of %d' % (
                len(payload), limits.HELLO_MAX_BYTES))
    return wire.unpack_json(payload)


def _check_binding(message, bound: bytes) -> None:
    """:raises AccessRefused: both must, or none"""
    is_offered = message.get('binding') == _BINDING
    if bound and not is_offered:
        raise errors.AccessRefused(NOT_BOUND)
    if is_offered and not bound:
        raise errors.AccessRefused(BOUND)


def _bytes_of(message, name, size) -> bytes:
    """A field of so many bytes in hexadecimal; b'' where it is none."""
    text = message.get(name)
    if isinstance(text, str) and len(text) == 2 * size:
        try:
            return bytes.fromhex(text)
        except ValueError:
            pass
    return b''


class ClientHello:
    """What a client says, and what it makes of the answers.

    Send ``opening``; then ``take`` each answer and send what it returns,
    until that is None.

    :param keyring: ``model.keys.Keyring``, or None
    :param nonce: fresh from the world, ``NONCE_BYTES``
    :param is_proof_due: the server must know the key as well (if we do).
        Not so on a unix socket, which says whose it is.
    :param bound: under TLS, see ``binding``
    :ivar incarnation: who answered
    :ivar tag: for all frames to come
    :ivar seals: keys of ``wire.seal``, ours and theirs; None without proof
    """

    def __init__(self, role: str, incarnation: str = '', meant: str = '',
                 keyring=None, nonce: bytes = b'', is_proof_due=True,
                 lane: str = '', bound: bytes = b''):
        message = {'protocol': wire.VERSION, 'role': role,
                   'incarnation': incarnation, 'for': meant, 'lane': lane}
        if keyring is not None:
            assert len(nonce) == NONCE_BYTES, 'a nonce of %d' % len(nonce)
            message.update(nonce=nonce.hex(), keys=keyring.ids)
            if bound:
                message['binding'] = _BINDING
        self.opening = wire.pack_json(message)
        self.incarnation = ''
        self.tag = 0
        self.seals = None
        self._meant = meant
        self._keyring = keyring
        self._is_proof_due = is_proof_due and keyring is not None
        self._bound = bound
        self._key = None
        self._said = b''

    def take(self, payload):
        """An answer; returns the next payload to send, None at the end.

        :raises AccessRefused: the server does not know our key
        :raises SheepdogError: it is another incarnation, or no answer
        """
        message = _read(payload)
        if self._key is not None:
            self._finish(message)
            return None
        self._take_incarnation(message)
        if 'nonce' in message:
            return self._prove(message, payload)
        if self._is_proof_due:
            raise errors.AccessRefused(
                'it does not prove that it knows the cluster key')
        self.tag = _tag_of(message)
        return None

    def _take_incarnation(self, message):
        incarnation = message.get('incarnation')
        if not isinstance(incarnation, str):
            raise errors.VersionMismatch('HELLO is answered in a way '
                                         'unknown to us')
        if self._meant and incarnation != self._meant:
            raise errors.Unreachable('it is another incarnation now')
        self.incarnation = incarnation

    def _prove(self, message, payload):
        if self._keyring is None:
            raise errors.AccessRefused(NO_KEY)
        self._key = self._keyring.get(message.get('key'))
        if self._key is None or not _bytes_of(message, 'nonce',
                                              NONCE_BYTES):
            raise errors.AccessRefused('it answers with a key that was not '
                                       'offered')
        _check_binding(message, self._bound)
        self._said = transcript(self.opening, bytes(payload), self._bound)
        return wire.pack_json({
            'proof': _code(self._key, _CLIENT_PROOF, self._said).hex()})

    def _finish(self, message):
        tag = _tag_of(message)
        proof = _code(self._key, _SERVER_PROOF, _server_said(self._said,
                                                             tag))
        if not hmac.compare_digest(
                proof, _bytes_of(message, 'proof', _PROOF_BYTES)):
            raise errors.AccessRefused(
                'it does not prove that it knows the cluster key %s'
                % self._key.id)
        self.tag = tag
        self.seals = (_code(self._key, _CLIENT_SEAL, self._said),
                      _code(self._key, _SERVER_SEAL, self._said))


def _tag_of(message) -> int:
    tag = message.get('tag')
    if type(tag) is not int or not 0 <= tag < 1 << 32:
        raise errors.VersionMismatch('HELLO is answered without a tag')
    return tag


class ServerHello:
    """What a server makes of a HELLO: ``open``, then either ``welcome``
    (who asks may, without proof) or ``challenge`` and ``check``.

    :param incarnation: ours
    :param bound: under TLS, see ``binding``
    :ivar role, incarnation, lane: of who asks
    :ivar key_id: of the key that was proved; '' for none
    :ivar seals: keys of ``wire.seal``, ours and theirs; None without proof
    """

    def __init__(self, incarnation: str, bound: bytes = b''):
        self.role = ''
        self.incarnation = ''
        self.lane = ''
        self.key_id = ''
        self.seals = None
        self._ours = incarnation
        self._bound = bound
        self._message = {}
        self._opening = b''
        self._nonce = b''
        self._offered = ()
        self._key = None
        self._said = b''

    def open(self, payload) -> None:
        """:raises SheepdogError: it is not for us, or nonsense"""
        message = _read(payload)
        protocol = message.get('protocol')
        if protocol != wire.VERSION:
            raise errors.VersionMismatch(
                'this sheep speaks version 0x%02x of the peer protocol, '
                'not %r' % (wire.VERSION, protocol))
        role = message.get('role')
        if role not in ROLES:
            raise errors.InvalidParameters('unknown role %r' % (role,))
        if role == 'peer' and message.get('for') != self._ours:
            raise errors.NotServing('this is %s' % self._ours)
        self.role = role
        self.incarnation = str(message.get('incarnation', ''))
        self.lane = str(message.get('lane', ''))
        self._message = message
        self._opening = bytes(payload)
        self._nonce = _bytes_of(message, 'nonce', NONCE_BYTES)
        offered = message.get('keys')
        if isinstance(offered, list):
            self._offered = offered[:limits.CLUSTER_KEYS_MAX]

    @property
    def offers_proof(self) -> bool:
        return bool(self._nonce and self._offered)

    def welcome(self, tag: int) -> bytes:
        """No proof is asked for."""
        return wire.pack_json({'incarnation': self._ours, 'tag': tag})

    def challenge(self, keyring: keys.Keyring, nonce: bytes) -> bytes:
        """:raises AccessRefused: we have no key in common"""
        assert len(nonce) == NONCE_BYTES, 'a nonce of %d' % len(nonce)
        if not self.offers_proof:
            raise errors.AccessRefused(NO_KEY)
        for key_id in self._offered:
            self._key = keyring.get(key_id)
            if self._key is not None:
                break
        else:
            raise errors.AccessRefused(
                'none of the cluster keys that were offered is accepted '
                'here: their ids are %s' % ', '.join(
                    repr(key_id)[:20] for key_id in self._offered))
        _check_binding(self._message, self._bound)
        message = {'incarnation': self._ours, 'nonce': nonce.hex(),
                   'key': self._key.id}
        if self._bound:
            message['binding'] = _BINDING
        challenge = wire.pack_json(message)
        self._said = transcript(self._opening, challenge, self._bound)
        return challenge

    def check(self, payload, tag: int) -> bytes:
        """The client's proof; returns the last answer.

        :raises AccessRefused: it is wrong
        """
        assert self._key is not None, 'checked before a challenge'
        if not hmac.compare_digest(
                _code(self._key, _CLIENT_PROOF, self._said),
                _bytes_of(_read(payload), 'proof', _PROOF_BYTES)):
            raise errors.AccessRefused(
                'the proof is wrong: the key of id %s is another one here'
                % self._key.id)
        self.key_id = self._key.id
        self.seals = (_code(self._key, _SERVER_SEAL, self._said),
                      _code(self._key, _CLIENT_SEAL, self._said))
        return wire.pack_json({
            'tag': tag, 'proof': _code(
                self._key, _SERVER_PROOF,
                _server_said(self._said, tag)).hex()})
