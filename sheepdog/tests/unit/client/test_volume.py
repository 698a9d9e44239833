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

"""Tests of sheepdog.client.volume."""

import io
import threading
import time
from unittest import mock

from sheepdog.client import client
from sheepdog.client import pace
from sheepdog.client import volume
from sheepdog.model import errors
from sheepdog.tests.unit.client import case

SIZE = 24 << 20


class VolumeCase(case.ClientCase):
    timeout_seconds = 10.0

    def setUp(self):
        super().setUp()
        self.client.vdis.create('v', SIZE)
        self.volume = self.client.open('v')
        self.addCleanup(self.volume.close)

    def await_true(self, condition):
        for _attempt in range(500):
            if condition():
                return
            time.sleep(0.01)
        self.fail('it never came true')

    def pattern(self, size=SIZE):
        return b''.join(index.to_bytes(4, 'little')
                        for index in range(size // 4))


class VolumeTest(VolumeCase):
    def test_fields(self):
        self.assertEqual(SIZE, self.volume.size)
        self.assertEqual(4 << 20, self.volume.object_bytes)
        self.assertFalse(self.volume.read_only)

    def test_long_transfers(self):
        data = self.pattern()
        self.volume.write(0, data)
        self.assertEqual(data, self.cluster.content['v'])
        self.assertEqual(data[4097:SIZE - 5],
                         self.volume.read(4097, SIZE - 5 - 4097))

    def test_long_transfers_are_pipelined(self):
        # Small ones: nobody reads what is not asked of the stream, so all
        # answers under way have to fit into the sockets' buffers.
        size, piece = 64 << 10, 4096
        offsets = []
        self.sheep[0].before = lambda opcode, offset: offsets.append(offset)
        self.enterContext(mock.patch.object(volume, 'REQUEST_BYTES', piece))
        stream = self.volume.read_stream(0, size)
        first = next(stream)
        self.assertEqual(piece, len(first))
        # Nothing more is asked of the stream, yet requests are under way:
        # the fake gets to see DEPTH of them.
        self.await_true(lambda: len(offsets) == volume.DEPTH)
        self.assertEqual(bytes(size - len(first)), b''.join(stream))
        self.assertEqual(list(range(0, size, piece)), offsets)

    def test_less_is_under_way_while_answers_come_late(self):
        data = self.pattern(4 << 20)
        asked = []

        def late(_opcode, offset):
            asked.append(offset)
            time.sleep(0.02)

        self.sheep[0].before = late
        with mock.patch.object(pace, 'QUICK_SECONDS', 0.01):
            done = list(self.volume.write_stream(3, [data[:100], data[100:]]))
            self.assertEqual(pace.LEAST_BYTES, asked[-1] - asked[-2])
            self.assertEqual([100, 4 << 20], done)
            count = len(asked)
            self.assertEqual(data[:1 << 20], self.volume.read(3, 1 << 20))
            self.assertEqual(16, len(asked) - count)
        self.assertEqual(data, self.cluster.content['v'][3:3 + (4 << 20)])
        self.sheep[0].before = None
        self.assertEqual(data, b''.join(self.volume.read_stream(3, 4 << 20)))
        self.assertLess(1 << 20, self.volume._pace.allowed_bytes)

    def test_fua_and_flush(self):
        self.volume.write(0, b'x' * 512)
        self.assertEqual(0, self.cluster.durable_writes)
        self.volume.write(512, b'x' * 512, fua=True)
        self.assertEqual(1, self.cluster.durable_writes)
        self.volume.flush()
        self.assertEqual(1, self.cluster.flushes)

    def test_zero(self):
        self.volume.write(0, b'x' * (9 << 20))
        self.volume.zero(100, 8 << 20)
        content = self.cluster.content['v']
        self.assertEqual(b'x' * 100, content[:100])
        self.assertEqual(bytes(8 << 20), content[100:100 + (8 << 20)])
        self.assertEqual(b'x', content[100 + (8 << 20):101 + (8 << 20)])

    def test_range_is_checked(self):
        for offset, length in ((SIZE, 1), (-1, 1), (0, SIZE + 1)):
            with self.subTest((offset, length)):
                self.assertRaises(errors.InvalidParameters,
                                  self.volume.zero, offset, length)
        self.assertRaises(errors.InvalidParameters,
                          self.volume.write, SIZE - 1, b'xx')

    def test_nothing_to_do(self):
        self.assertEqual(b'', self.volume.read(SIZE, 0))
        self.volume.write(SIZE, b'')

    def test_streams(self):
        data = self.pattern(6 << 20)
        done = list(self.volume.write_stream(
            3, [data[:100], data[100:3 << 20], data[3 << 20:]]))
        self.assertEqual([100, 3 << 20, 6 << 20], done)
        self.assertEqual(data, b''.join(
            self.volume.read_stream(3, len(data))))

    def test_write_stream_beyond_the_end(self):
        with self.assertRaises(errors.InvalidParameters):
            list(self.volume.write_stream(SIZE - 10, [b'x' * 8, b'y' * 8]))
        self.assertEqual(b'x' * 8 + bytes(2), self.cluster.content['v'][-10:])

    def test_pieces_anywhere(self):
        done = list(self.volume.write_pieces(
            [(7 << 20, b'behind'), (3, memoryview(b'before'))]))
        self.assertEqual([6, 12], done)
        content = self.cluster.content['v']
        self.assertEqual(b'behind', content[7 << 20:(7 << 20) + 6])
        self.assertEqual(b'before', content[3:9])
        with self.assertRaises(errors.InvalidParameters):
            list(self.volume.write_pieces([(SIZE - 1, b'xy')]))

    def test_extents(self):
        self.volume.write(9 << 20, b'x')
        asked = []

        def before(what, offset):
            if what == 'volume.extents':
                asked.append(offset)

        self.sheep[0].before = before
        found = self.volume.extents(1 << 20, 11 << 20)
        self.assertEqual(11 << 20, sum(length for length, _ in found))
        place, data = 1 << 20, []
        for length, is_data in found:
            if is_data:
                data.append((place, length))
            place += length
        self.assertEqual([(9 << 20, 4096)], data)
        # It goes on where an answer ends.
        self.assertEqual([1 << 20, 6 << 20, 11 << 20], asked)
        self.assertRaises(errors.InvalidParameters, self.volume.extents,
                          SIZE - 1, 2)

    def test_extents_are_asked_of_another_sheep(self):
        self.volume.write(0, b'x')
        self.volume.flush()
        self.sheep[0].stop()
        self.assertEqual((4096, True), self.volume.extents(0, SIZE)[0])

    def test_close_flushes_and_frees_the_lock(self):
        self.volume.write(0, b'x')
        self.volume.close()
        self.assertEqual(1, self.cluster.flushes)
        self.assertEqual({}, self.cluster.locks)
        self.volume.close()
        self.assertRaises(ValueError, self.volume.read, 0, 1)

    def test_close_without_writes_does_not_flush(self):
        self.volume.close()
        self.assertEqual(0, self.cluster.flushes)

    def test_read_only(self):
        reader = self.client.open('v', read_only=True)
        self.addCleanup(reader.close)
        self.assertEqual(bytes(10), reader.read(0, 10))
        self.assertRaises(errors.ReadOnly, reader.write, 0, b'x')

    def test_no_vdi(self):
        self.assertRaises(errors.NoVdi, self.client.open, 'w')

    def test_locked(self):
        other = client.Client([self.sheep[1].address])
        self.addCleanup(other.close)
        self.assertRaises(errors.VdiLocked, other.open, 'v')

    def test_goes_on_through_another_sheep(self):
        data = self.pattern()
        count = []

        def before(opcode, _offset):
            count.append(opcode)
            if len(count) == 5:
                self.sheep[0].break_connections()
                threading.Thread(target=self.sheep[0].stop).start()
                raise errors.Unreachable('dying')

        self.sheep[0].before = before
        self.volume.write(0, data)
        self.assertEqual(data, self.cluster.content['v'])
        self.assertEqual(data, self.volume.read(0, SIZE))
        self.assertIs(self.sheep[1], self.cluster.locks['v'])

    def test_goes_on_when_a_sheep_stands_still(self):
        patient = client.Client([sheep.address for sheep in self.sheep],
                                timeout=10.0, attempt_timeout=0.3)
        self.addCleanup(patient.close)
        self.volume.close()
        still = patient.open('v')
        self.addCleanup(still.close)
        self.sheep[0].mangle = lambda *_answer: None
        threading.Timer(0.2, self.sheep[0].free_locks).start()
        begin = time.monotonic()
        still.write(0, b'after all')
        self.assertLess(time.monotonic() - begin, 5)
        self.assertEqual(b'after all', self.cluster.content['v'][:9])
        self.assertIs(self.sheep[1], self.cluster.locks['v'])

    def test_opens_through_another_when_a_sheep_stands_still(self):
        patient = client.Client([sheep.address for sheep in self.sheep],
                                timeout=10.0, attempt_timeout=0.3)
        self.addCleanup(patient.close)
        self.volume.close()

        def mangle(opcode, _header, payload):
            return payload if opcode == 0x80 else None

        self.sheep[0].mangle = mangle
        threading.Timer(0.2, self.sheep[0].free_locks).start()
        with patient.open('v', read_only=True) as still:
            self.assertEqual(bytes(4), still.read(0, 4))

    def test_goes_on_with_a_vdi_that_a_snapshot_was_made_of(self):
        ours = self.volume.vdi_id
        self.take_place(ours, 0)
        self.volume.write(0, b'x')
        self.assertEqual(ours + 1, self.volume.vdi_id)
        self.take_place(ours + 1, 0)
        self.volume.close()

    def test_does_not_go_on_with_one_that_was_rolled_back(self):
        self.take_place(self.volume.vdi_id, 1)
        with self.assertRaisesRegex(errors.NoVdi, 'another one'):
            self.volume.write(0, b'x')
        self.cluster.vdis['v'] = self.cluster.vdis.pop('v@one')

    def take_place(self, vdi_id, seconds):
        """It becomes a snapshot; the connection is lost."""
        vdis = self.cluster.vdis
        vdis['v@one'] = dict(vdis['v'], tag='one', snapshot=True)
        vdis['v'] = dict(vdis['v'], vdi_id=vdi_id + 1, parent=vdi_id,
                         created=vdis['v']['created'] + seconds)
        self.volume._session.connection._socket.shutdown(2)
        self.cluster.locks.clear()

    def test_waits_for_the_lock_of_a_sheep_that_died(self):
        self.cluster.locks['v'] = 'the dead one'
        timer = threading.Timer(0.3, self.cluster.locks.clear)
        self.sheep[0].free_locks = lambda: None
        self.sheep[0].stop()
        timer.start()
        self.assertEqual(bytes(10), self.volume.read(0, 10))
        timer.join()

    def test_waits_for_a_sheep_that_is_not_let_in_yet(self):
        answers = [errors.WaitForJoin('waiting for the leader')] * 3

        def opened(arguments):
            if answers:
                raise answers.pop()
            self.cluster.answers.clear()
            return self.cluster.call(self.sheep[1], 'volume.open', arguments)

        self.cluster.answers['volume.open'] = opened
        self.sheep[0].stop()
        self.assertEqual(bytes(10), self.volume.read(0, 10))
        self.assertEqual([], answers)

    def test_says_at_once_that_the_cluster_waits(self):
        self.cluster.answers['volume.open'] = errors.WaitForJoin('for b')
        begin = time.monotonic()
        self.assertRaises(errors.WaitForJoin, self.client.open, 'v')
        self.assertLess(time.monotonic() - begin, 5)

    def test_transient_answer_is_tried_again(self):
        answers = [errors.NotServing('epoch changes')] * 3

        def before(_opcode, _offset):
            if answers:
                raise answers.pop()

        self.sheep[0].before = before
        self.volume.write(0, b'x' * (3 << 20))
        self.assertEqual(b'x' * (3 << 20),
                         self.cluster.content['v'][:3 << 20])
        self.assertEqual(0, len(self.sheep[1].greeted))

    def test_error_ends_the_transfer(self):
        def before(opcode, offset):
            if offset == 2 << 20:
                raise errors.ChecksumError('no good copy')

        self.sheep[0].before = before
        self.assertRaisesRegex(errors.StorageError, 'no good copy',
                               self.volume.read, 0, SIZE)
        # The volume is still good for the rest.
        self.assertEqual(bytes(10), self.volume.read(0, 10))

    def test_another_vdi_of_that_name(self):
        self.cluster.vdis['v'] = dict(self.cluster.vdis['v'], vdi_id=7)
        self.sheep[0].stop()
        self.assertRaisesRegex(errors.NoVdi, 'another',
                               self.volume.read, 0, 1)

    def test_many_threads_survive_the_loss_of_a_sheep(self):
        wrong = []

        def work(index):
            place = index * (1 << 20)
            for turn in range(20):
                data = bytes([index + 1, turn]) * 4096
                self.volume.write(place, data)
                if self.volume.read(place, len(data)) != data:
                    wrong.append((index, turn))

        threads = [threading.Thread(target=work, args=(index,))
                   for index in range(6)]
        for thread in threads:
            thread.start()
        self.sheep[0].stop()
        for thread in threads:
            thread.join(30)
            self.assertFalse(thread.is_alive())
        self.assertEqual([], wrong)


class VolumeFileTest(VolumeCase):
    def test_file(self):
        file = self.volume.file()
        self.assertTrue(file.readable() and file.writable())
        self.assertEqual(5, file.write(b'hello'))
        self.assertEqual(5, file.tell())
        file.seek(1)
        self.assertEqual(b'ello', file.read(4))
        file.seek(-3, io.SEEK_END)
        self.assertEqual(bytes(3), file.read(10))
        self.assertEqual(b'', file.read(10))
        self.assertEqual(SIZE, file.tell())
        with self.assertRaises(OSError):
            file.write(b'x')
        file.close()
        self.assertEqual(1, self.cluster.flushes)
        self.assertEqual(b'hello', self.volume.read(0, 5))

    def test_buffered_writer_stops_at_the_end(self):
        buffered = io.BufferedWriter(self.volume.file())
        buffered.seek(SIZE - 2)
        buffered.write(b'abc')
        self.assertRaises(OSError, buffered.flush)
        self.assertEqual(b'ab', self.cluster.content['v'][-2:])
        buffered.raw.close()

    def test_seek_before_the_beginning(self):
        self.assertRaises(ValueError, self.volume.file().seek, -1)
