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

"""Snapshots of VDIs in a store: written, and read again."""

import collections
from concurrent import futures
import threading
from typing import Iterator

from sheepdog.backup import changes
from sheepdog.backup import documents
from sheepdog.backup import faults
from sheepdog.backup import source
from sheepdog.backup import stream

WORKERS = 4
AHEAD = 16
"""Chunks under way at once."""

_SPAN = documents.SPAN_BYTES
_CHUNK = documents.CHUNK_BYTES


class Store:
    """Chunks and images in a depot; close it.

    :ivar new_chunks: so many were not there before
    :ivar new_bytes: what they took, compressed
    """

    def __init__(self, depot):
        self.depot = depot
        self.new_chunks = 0
        self.new_bytes = 0
        self._lock = threading.Lock()
        self._workers = futures.ThreadPoolExecutor(WORKERS)

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self._workers.shutdown(cancel_futures=True)

    def find(self, identity):
        """The image of that snapshot, and the digest of its file; (None, '')
        where there is none of use."""
        try:
            data = self.depot.read(documents.image_path(identity))
            image = documents.unpack_image(data)
        except (faults.NotThere, faults.Damaged):
            return None, ''
        if image.identity != identity:
            return None, ''
        return image, documents.digest_of(data).hex()

    def image(self, identity, digest) -> documents.Image:
        """:raises Damaged: it is not the one that was written"""
        try:
            data = self.depot.read(documents.image_path(identity))
        except faults.NotThere as error:
            raise faults.Damaged(str(error)) from None
        if documents.digest_of(data).hex() != digest:
            raise faults.Damaged('the image %s is damaged' % identity)
        return documents.unpack_image(data)

    def save(self, client, snapshot, base=None, base_image=None,
             progress=None) -> tuple:
        """Write the image of a snapshot, and what is new of it.

        :param base: another one, whose image there is
        :returns: the image, and the digest of its file
        """
        size = snapshot.vdi['size']
        if base and (base.vdi['size'] > size
                     or base.object_bytes != snapshot.object_bytes):
            base = base_image = None
        places = collections.deque(changes.ranges(
            snapshot.owners(client), size,
            base.owners(client) if base else (),
            base.vdi['size'] if base else 0, snapshot.object_bytes))
        indices = []
        with snapshot.open(client) as volume:
            for start in range(0, size, _SPAN):
                before = index_at(base_image, start // _SPAN)
                here = _within(places, start, start + _SPAN)
                indices.append(self._save_span(volume, start, here, before)
                               if here else before)
                if progress:
                    progress.update(min(start + _SPAN, size), size)
        image = documents.Image(
            snapshot.identity, size, snapshot.vdi['block_size_shift'],
            tuple(indices))
        data = documents.pack_image(image)
        self.depot.write(documents.image_path(snapshot.identity), data)
        return image, documents.digest_of(data).hex()

    def index(self, digest: str) -> bytes:
        """Of a span: the digests of its chunks.

        :raises Damaged:
        """
        if not digest:
            return bytes(documents.INDEX_CHUNKS * documents.DIGEST_BYTES)
        found = self.chunk(bytes.fromhex(digest))
        if len(found) != documents.INDEX_CHUNKS * documents.DIGEST_BYTES:
            raise faults.Damaged('the index %s is damaged' % digest)
        return found

    def chunk(self, digest: bytes) -> bytes:
        """:raises Damaged: it is not there as it was written"""
        try:
            data = self.depot.read(documents.chunk_path(digest),
                                   documents.PACKED_BYTES_MAX)
        except faults.NotThere:
            raise faults.Damaged('the chunk %s is missing'
                                 % digest.hex()) from None
        return documents.unpack_chunk(digest, data)

    def differing(self, image, base=None) -> Iterator[stream.Piece]:
        """What of an image is not as in another, or not zero.

        :raises Damaged:
        """
        window = collections.deque()
        for offset, digest in _changed(self, image, base):
            length = min(_CHUNK, image.size - offset)
            window.append((offset, length, None if digest == documents.ZEROES
                           else self._workers.submit(self.chunk, digest)))
            if len(window) >= AHEAD:
                yield from _fetched(window, base)
        while window:
            yield from _fetched(window, base)

    def _save_span(self, volume, start, places, before) -> str:
        """:returns: the digest of its index"""
        digests = bytearray(self.index(before))
        window = collections.deque()
        for offset, length, has_data in _pieces(volume, places):
            at = (offset - start) // _CHUNK * documents.DIGEST_BYTES
            data = volume.read(offset, length) if has_data else b''
            if data.count(0) == len(data):
                digests[at:at + documents.DIGEST_BYTES] = documents.ZEROES
                continue
            window.append((at, self._workers.submit(self._keep,
                                                    bytes(data))))
            if len(window) >= AHEAD:
                _note(digests, window)
        while window:
            _note(digests, window)
        if not any(digests):
            return ''
        return self._keep(bytes(digests)).hex()

    def _keep(self, data) -> bytes:
        digest = documents.digest_of(data)
        path = documents.chunk_path(digest)
        if not self.depot.exists(path):
            packed = documents.pack_chunk(data)
            self.depot.write(path, packed)
            with self._lock:
                self.new_chunks += 1
                self.new_bytes += len(packed)
        return digest


def index_at(image, number) -> str:
    return (image.indices[number]
            if image and number < len(image.indices) else '')


def _within(places, start, end) -> list:
    """Takes what is before ``end``."""
    found = []
    while places and places[0].offset < end:
        place = places.popleft()
        rest = place.offset + place.length - end
        if rest > 0:
            places.appendleft(place._replace(offset=end, length=rest))
            place = place._replace(length=place.length - rest)
        found.append(place)
    return found


def _pieces(volume, places):
    """(offset, length, may there be data) of each chunk."""
    for place in places:
        if not place.is_new:
            for offset in range(place.offset, place.offset + place.length,
                                _CHUNK):
                yield offset, 0, False
            continue
        extents = source.extents(volume, place.offset, place.length)
        offset, end = place.offset, place.offset + place.length
        here = volume_at = offset
        has_data = False
        for length, is_data in extents:
            volume_at += length
            has_data |= is_data
            while volume_at >= min(here + _CHUNK, end) and here < end:
                yield here, min(_CHUNK, end - here), has_data
                here += _CHUNK
                # What is left of this extent is in the next chunk.
                has_data = is_data and volume_at > here


def _note(digests, window):
    at, digest = window.popleft()
    digests[at:at + documents.DIGEST_BYTES] = digest.result()


def _changed(store, image, base):
    for number, digest in enumerate(image.indices):
        other = index_at(base, number)
        if digest == other:
            continue
        new, old = store.index(digest), store.index(other)
        for at in range(0, len(new), documents.DIGEST_BYTES):
            one = new[at:at + documents.DIGEST_BYTES]
            offset = number * _SPAN + at // documents.DIGEST_BYTES * _CHUNK
            if one != old[at:at + documents.DIGEST_BYTES]:
                if offset >= image.size:
                    raise faults.Damaged('an index goes beyond its image')
                yield offset, one


def _fetched(window, base):
    offset, length, chunk = window.popleft()
    if chunk is None:
        yield stream.Piece(offset, length)
        return
    data = chunk.result()
    if len(data) != length:
        raise faults.Damaged('a chunk is not as long as its place')
    if base is None:
        yield from changes.differing(offset, data, None)
    else:
        yield stream.Piece(offset, length, data)
