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

"""Requests and replies, the server's role against the client's."""

import unittest

import hypothesis
from hypothesis import strategies

from sheepdog.wire import nbd
from sheepdog.wire import nbd_client as client
from sheepdog.wire import nbd_transmission as wire


class Reader:
    """Collects requests; ``stops`` after that many, as a full face does."""

    def __init__(self, stops=0):
        self.requests = []
        self._stops = stops
        self.reader = wire.RequestReader(self._take)

    def _take(self, *request):
        self.requests.append(request)
        return not self._stops or len(self.requests) % self._stops

    def feed(self, stream, pieces=()):
        """Feed a stream cut at the given positions; return bytes used."""
        held = bytearray()
        used = 0
        bounds = sorted({0, len(stream), *pieces})
        for start, end in zip(bounds, bounds[1:]):
            held += stream[start:end]
            while True:
                taken = self.reader.receive(held, 0, len(held))
                del held[:taken]
                used += taken
                if not taken:
                    break
        return used


class TestRequestReader(unittest.TestCase):

    def test_a_request_without_payload(self):
        reader = Reader()
        self.assertEqual(reader.feed(client.pack_request(
            nbd.CMD_READ, 7, 4096, 512, nbd.CMD_FLAG_DF)), 28)
        self.assertEqual(reader.requests, [
            (nbd.CMD_FLAG_DF, nbd.CMD_READ, 7, 4096, 512, b'')])

    def test_a_write(self):
        reader = Reader()
        reader.feed(client.pack_request(nbd.CMD_WRITE, 1, 5, 4) + b'data')
        self.assertEqual(reader.requests,
                         [(0, nbd.CMD_WRITE, 1, 5, 4, b'data')])

    def test_it_says_what_room_a_write_needs(self):
        reader = Reader()
        header = client.pack_request(nbd.CMD_WRITE, 1, 0, 1000)
        self.assertEqual(reader.feed(header + b'x' * 999), 0)
        self.assertEqual(reader.reader.room_bytes, 1028)
        self.assertEqual(reader.feed(header + b'x' * 1000), 1028)
        self.assertEqual(reader.reader.room_bytes, 28)

    def test_the_payload_is_copied_out_of_the_buffer(self):
        reader = Reader()
        buffer = bytearray(
            client.pack_request(nbd.CMD_WRITE, 1, 0, 4) + b'kept')
        reader.reader.receive(buffer, 0, len(buffer))
        buffer[28:] = b'lost'
        buffer += b'resizable: no view of it is left'
        self.assertEqual(reader.requests[0][-1], b'kept')
        self.assertIs(type(reader.requests[0][-1]), bytes)

    def test_the_longest_write(self):
        reader = Reader()
        reader.feed(client.pack_request(
            nbd.CMD_WRITE, 1, 0, nbd.PAYLOAD_MAX_BYTES) +
            bytes(nbd.PAYLOAD_MAX_BYTES))
        self.assertEqual(len(reader.requests[0][-1]), nbd.PAYLOAD_MAX_BYTES)

    def test_a_longer_write_goes_by_unseen(self):
        reader = Reader()
        length = nbd.PAYLOAD_MAX_BYTES + 1
        self.assertEqual(
            reader.feed(client.pack_request(nbd.CMD_WRITE, 1, 0, length) +
                        bytes(100)), 128)
        # Who is still sending expects no answer.
        self.assertEqual(reader.requests, [])
        reader.feed(bytes(length - 100) +
                    client.pack_request(nbd.CMD_FLUSH, 2))
        self.assertEqual(reader.requests,
                         [(0, nbd.CMD_WRITE, 1, 0, length, None),
                          (0, nbd.CMD_FLUSH, 2, 0, 0, b'')])

    def test_it_stops_behind_what_went_by_too(self):
        reader = Reader(stops=1)
        length = nbd.PAYLOAD_MAX_BYTES + 1
        reader.feed(client.pack_request(nbd.CMD_WRITE, 1, 0, length))
        rest = bytes(length) + client.pack_request(nbd.CMD_FLUSH, 2)
        self.assertEqual(reader.reader.receive(rest, 0, len(rest)), length)

    def test_wrong_magic(self):
        with self.assertRaises(nbd.Violation):
            Reader().feed(bytes(28))

    def test_nothing_is_taken_behind_disc(self):
        reader = Reader()
        disc = client.pack_request(nbd.CMD_DISC, 1)
        self.assertEqual(reader.feed(disc + b'x' * 100), 128)
        self.assertEqual(reader.feed(disc), 28)
        self.assertEqual(len(reader.requests), 1)

    def test_it_stops_when_told_to(self):
        reader = Reader(stops=1)
        flush = client.pack_request(nbd.CMD_FLUSH, 1)
        self.assertEqual(reader.reader.receive(flush * 2, 0, 56), 28)
        self.assertEqual(reader.reader.receive(flush * 2, 28, 56), 56)
        write = client.pack_request(nbd.CMD_WRITE, 1, 0, 1) + b'x'
        self.assertEqual(reader.reader.receive(write * 2, 0, 58), 29)


REQUESTS = strategies.lists(strategies.tuples(
    strategies.integers(0, 9), strategies.integers(0, 2**64 - 1),
    strategies.integers(0, 2**64 - 1), strategies.integers(0, 100),
    strategies.integers(0, 2**16 - 1)), max_size=8)


def pack(requests):
    stream = b''
    for command, cookie, offset, length, flags in requests:
        stream += client.pack_request(command, cookie, offset, length, flags)
        if command == nbd.CMD_WRITE:
            stream += bytes(i & 0xFF for i in range(length))
    return stream


class TestAnything(unittest.TestCase):

    @hypothesis.settings(deadline=None, max_examples=200)
    @hypothesis.given(REQUESTS,
                      strategies.lists(strategies.integers(0, 600)),
                      strategies.integers(0, 3))
    def test_cuts_make_no_difference(self, requests, pieces, stops):
        stream = pack(requests)
        whole = Reader()
        self.assertEqual(whole.feed(stream), len(stream))
        cut = Reader(stops)
        cut.feed(stream, [piece for piece in pieces if piece < len(stream)])
        self.assertEqual(cut.requests, whole.requests)
        if nbd.CMD_DISC not in [request[0] for request in requests]:
            self.assertEqual(
                [(command, cookie, offset, length, flags) for
                 flags, command, cookie, offset, length, _ in cut.requests],
                requests)

    @hypothesis.settings(deadline=None, max_examples=200)
    @hypothesis.given(REQUESTS, strategies.binary(max_size=200))
    def test_garbage_is_a_violation_or_a_request(self, requests, garbage):
        try:
            Reader().feed(pack(requests) + garbage)
        except nbd.Violation:
            pass

    @hypothesis.settings(deadline=None, max_examples=200)
    @hypothesis.given(
        strategies.lists(strategies.tuples(strategies.integers(1, 100),
                                           strategies.booleans())),
        strategies.integers(1, 300), strategies.integers(1, 10))
    def test_merged_extents(self, extents, length, extents_max):
        merged = wire.merge_extents(extents, length, extents_max)
        total = sum(size for size, _state in merged)
        self.assertLessEqual(len(merged), extents_max)
        self.assertLessEqual(total, length)

        def states(pairs, holes):
            return [state for size, kind in pairs
                    for state in [bool(kind) is holes] * size]

        self.assertEqual(states(merged, True),
                         states(extents, False)[:total])
        for one, other in zip(merged, merged[1:]):
            self.assertNotEqual(one[1], other[1])
        if len(merged) < extents_max:
            self.assertEqual(total, min(length, sum(
                size for size, _is_data in extents)))


class TestReplies(unittest.TestCase):

    def setUp(self):
        self.reader = client.ReplyReader()

    def read(self, stream):
        for end in range(len(stream)):
            self.assertEqual(self.reader.receive(stream, 0, end), (None, 0))
        chunk, position = self.reader.receive(stream, 0, len(stream))
        self.assertEqual(position, len(stream))
        return chunk

    def test_simple(self):
        self.assertEqual(self.read(wire.simple_reply(5)),
                         client.Chunk(5, True, wire.CHUNK_NONE))

    def test_simple_with_data(self):
        self.reader.expect(5, 4)
        self.assertEqual(self.read(wire.simple_reply(5) + b'data').data,
                         b'data')

    def test_simple_error_has_no_data(self):
        self.reader.expect(5, 4)
        self.assertEqual(self.read(wire.simple_reply(5, nbd.EIO)).error,
                         nbd.EIO)

    def test_data_chunk(self):
        header = wire.DATA_CHUNK.pack(
            wire.CHUNK_MAGIC, wire.CHUNK_DONE, wire.CHUNK_OFFSET_DATA, 5,
            8 + 4, 1 << 40)
        self.assertEqual(
            self.read(header + b'data'),
            client.Chunk(5, True, wire.CHUNK_OFFSET_DATA, 0, 1 << 40,
                         b'data'))

    def test_none_chunk(self):
        self.assertEqual(self.read(wire.none_chunk(5)),
                         client.Chunk(5, True, wire.CHUNK_NONE))

    def test_error_chunk(self):
        self.assertEqual(
            self.read(wire.error_chunk(5, nbd.ENOSPC, 'full')),
            client.Chunk(5, True, wire.CHUNK_ERROR, nbd.ENOSPC,
                         data=b'full'))

    def test_a_very_long_text_fits(self):
        chunk = self.read(wire.error_chunk(5, nbd.EIO, 'x' * 100000))
        self.assertEqual(len(chunk.data), nbd.STRING_MAX_BYTES)

    def test_status_chunk(self):
        extents = ((4096, 0), (8192, 3))
        self.assertEqual(self.read(wire.status_chunk(5, 1, extents)).extents,
                         extents)

    @hypothesis.settings(deadline=None, max_examples=200)
    @hypothesis.given(strategies.sampled_from((
        b'', wire.simple_reply(1)[:4], wire.none_chunk(1)[:4],
        wire.none_chunk(1)[:6])), strategies.binary(max_size=60))
    def test_garbage_is_a_violation_or_a_reply(self, beginning, garbage):
        try:
            self.reader.receive(beginning + garbage, 0,
                                len(beginning + garbage))
        except nbd.Violation:
            pass
