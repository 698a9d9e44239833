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
"""What protects the frames of a cluster connection over TCP.

A sealed frame has 16 bytes between header and payload: a code of both that
only who knows the connection's key can make. Each direction has a key of
its own, and each frame the number of its place in the stream, so a frame
can neither be changed nor left out, repeated, moved or put elsewhere. The
header's CRC stays zero: the seal covers what it covered, and more.

The code is the tag of AES-256-GCM, with the header as the text (the
ciphertext is not used: headers go as they are) and the payload as additional
data. Measured on two cores of an EPYC, µs for 0 B, 4 KiB and 1 MiB, without
the copy that a single argument would cost: AES-GCM 0.5, 0.8, 34 · BLAKE2b
0.3, 3.4, 743 · BLAKE3 0.5, 2.2, 121 · HMAC-SHA256 1.4, 3.4, 525 ·
ChaCha20-Poly1305 0.8, 1.1, 67 · for comparison CRC-32C 0.1, 0.2, 32.

The functions are closures, not methods: this is called for every frame.
"""

import hmac
import itertools
import struct

from cryptography.hazmat.primitives.ciphers import aead

from sheepdog.model import errors
from sheepdog.wire import peer as wire

SEAL_BYTES = 16
HEAD_BYTES = wire.HEADER_BYTES + SEAL_BYTES
"""A sealed frame's header with its seal."""

_HEADER_BYTES = wire.HEADER_BYTES
_NONCE = struct.Struct('<4xQ')


def sealer(key: bytes):
    """``seal(header, payload)`` → header and seal, to be sent in front of
    the payload. Call it once per frame, in the order of sending."""
    encrypt = aead.AESGCM(key).encrypt
    nonce = _NONCE.pack
    count = itertools.count().__next__

    def seal(header, payload=b''):
        return header + encrypt(nonce(count()), header,
                                payload)[_HEADER_BYTES:]
    return seal


def opener(key: bytes):
    """``check(buffer, start, payload)`` for each frame in the order of
    arrival; header and seal are at ``start`` of ``buffer``.

    It raises CorruptFrame: the frame is not the next one that was sealed.
    """
    encrypt = aead.AESGCM(key).encrypt
    nonce = _NONCE.pack
    count = itertools.count().__next__
    is_equal = hmac.compare_digest

    def check(buffer, start, payload):
        body = start + _HEADER_BYTES
        if not is_equal(
                encrypt(nonce(count()), buffer[start:body],
                        payload)[_HEADER_BYTES:],
                buffer[body:body + SEAL_BYTES]):
            raise errors.CorruptFrame(
                'the seal of a frame is wrong: it was changed on its way')
    return check
