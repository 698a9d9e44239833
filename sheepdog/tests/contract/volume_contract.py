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

"""What every volume does, whatever keeps its bytes.

Mix ``VolumeContract`` into an ``IsolatedAsyncioTestCase`` that says how a
volume comes about. A plain bytearray is the twin that all contents are
compared with.
"""

import asyncio
import random

from sheepdog.model import errors
from sheepdog.model import limits

OBJECT_BYTES = 1 << limits.OBJECT_SHIFT_MIN
SIZE = 4 * OBJECT_BYTES - 3 * limits.SECTOR_BYTES
"""Not a whole number of blocks: tails are where it goes wrong."""

BLOCK = limits.BLOCK_BYTES


class VolumeContract:
    """The suite. ``self.volume`` is fresh for each test."""

    OPERATIONS = 120
    """Of the random walk."""

    EXTENT_BYTES = BLOCK
    """What is not zero is told in multiples of it."""

    async def make_volume(self, size: int, object_bytes: int):
        """A new, empty, writable volume, opened."""
        raise NotImplementedError()

    async def make_read_only(self, volume):
        """The same volume, or a snapshot of it, opened read-only."""
        raise NotImplementedError()

    async def resize(self, volume, size: int) -> None:
        """Let the volume grow while it is open."""
        raise NotImplementedError()

    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.volume = await self.make_volume(SIZE, OBJECT_BYTES)
        self.twin = bytearray(SIZE)

    async def write(self, offset, data, **options):
        await self.volume.write(offset, data, **options)
        self.twin[offset:offset + len(data)] = data

    async def check_content(self):
        self.assertEqual(await self.volume.read(0, SIZE), bytes(self.twin))

    async def submit(self, submit, *arguments):
        """Call a submit_ method: the arguments of each call of done."""
        calls = []
        arrived = asyncio.Event()

        def done(*results):
            calls.append(results)
            arrived.set()

        submit(*arguments, done)
        await asyncio.wait_for(arrived.wait(), 30)
        for _turn in range(3):
            await asyncio.sleep(0)
        return calls

    # What it says of itself.

    async def test_it_describes_itself(self):
        self.assertEqual(self.volume.size, SIZE)
        self.assertEqual(self.volume.object_bytes, OBJECT_BYTES)
        self.assertFalse(self.volume.read_only)
        self.assertTrue(self.volume.valid)
        self.assertIsInstance(self.volume.name, str)
        self.assertGreater(self.volume.vdi_id, 0)

    # Reading and writing.

    async def test_what_was_never_written_reads_as_zeroes(self):
        await self.check_content()

    async def test_a_write_is_read_back(self):
        await self.write(BLOCK, b'x' * BLOCK)
        await self.check_content()

    async def test_a_write_of_one_byte_changes_one_byte(self):
        await self.write(0, b'a' * 3 * BLOCK)
        await self.write(BLOCK + 17, b'b')
        await self.check_content()

    async def test_a_write_over_the_bound_of_objects(self):
        await self.write(OBJECT_BYTES - 100, b'y' * 200)
        await self.write(2 * OBJECT_BYTES - 1, b'z' * (OBJECT_BYTES + 2))
        await self.check_content()

    async def test_the_last_byte(self):
        await self.write(SIZE - 1, b'!')
        self.assertEqual(await self.volume.read(SIZE - 1, 1), b'!')

    async def test_the_whole_volume_at_once(self):
        await self.write(0, random.Random(1).randbytes(SIZE))
        await self.check_content()

    async def test_nothing_may_be_read_and_written(self):
        self.assertEqual(await self.volume.read(SIZE, 0), b'')
        await self.volume.write(SIZE, b'')
        await self.volume.zero(SIZE, 0)
        await self.volume.discard(SIZE, 0)
        await self.check_content()

    async def test_pieces_come_in_order(self):
        data = random.Random(2).randbytes(2 * OBJECT_BYTES)
        await self.write(OBJECT_BYTES // 2, data)
        (error, pieces), = await self.submit(
            self.volume.submit_read, OBJECT_BYTES // 2, len(data))
        self.assertIsNone(error)
        if isinstance(pieces, list):
            pieces = b''.join(pieces)
        self.assertEqual(pieces, data)

    async def test_done_is_called_once(self):
        self.assertEqual(
            await self.submit(self.volume.submit_write, 5, b'once', False),
            [(None,)])
        self.assertEqual(
            await self.submit(self.volume.submit_read, 5, 4),
            [(None, b'once')])

    async def test_many_at_once_do_not_disturb_each_other(self):
        chance = random.Random(3)
        step = SIZE // 64
        pieces = [(index * step, chance.randbytes(step))
                  for index in range(64)]
        chance.shuffle(pieces)
        await asyncio.gather(*(self.write(offset, data)
                               for offset, data in pieces))
        await self.check_content()
        for index, data in enumerate(await asyncio.gather(
                *(self.volume.read(offset, len(data))
                  for offset, data in pieces))):
            self.assertEqual(data, pieces[index][1])

    # Zeroes and discards.

    async def test_zeroes_are_exact_at_any_alignment(self):
        await self.write(0, b'x' * SIZE)
        for may_punch in (True, False):
            for offset, length in ((1, 1), (BLOCK - 1, 2), (3 * BLOCK, BLOCK),
                                   (5 * BLOCK + 7, 9 * BLOCK),
                                   (OBJECT_BYTES - 9, OBJECT_BYTES + 18)):
                offset += 0 if may_punch else OBJECT_BYTES // 2
                await self.volume.zero(offset, length, may_punch=may_punch)
                self.twin[offset:offset + length] = bytes(length)
        await self.check_content()

    async def test_zeroes_where_nothing_is(self):
        await self.volume.zero(0, SIZE)
        await self.check_content()

    async def test_a_discard_touches_nothing_outside_of_it(self):
        await self.write(0, b'x' * SIZE)
        await self.volume.discard(BLOCK + 1, 3 * BLOCK)
        content = await self.volume.read(0, SIZE)
        self.assertEqual(content[:BLOCK + 1], b'x' * (BLOCK + 1))
        self.assertEqual(content[4 * BLOCK + 1:],
                         b'x' * (SIZE - 4 * BLOCK - 1))
        self.assertLessEqual(set(content), set(b'x\0'))
        self.assertEqual(await self.volume.read(0, SIZE), content)

    # Extents.

    async def extents(self, offset, length):
        """Those of a range, checked for what is always true of them."""
        extents = await self.volume.extents(offset, length)
        self.assertEqual(sum(size for size, _is_data in extents), length)
        for size, is_data in extents:
            self.assertGreater(size, 0)
            if not is_data:
                self.assertEqual(self.twin[offset:offset + size],
                                 bytes(size))
            offset += size
        return extents

    async def test_a_fresh_volume_is_one_hole(self):
        self.assertFalse(any(is_data for _size, is_data
                             in await self.extents(0, SIZE)))

    async def test_extents_tell_data_from_holes(self):
        size = 2 * self.EXTENT_BYTES
        await self.write(OBJECT_BYTES + 4 * size, b'x' * size)
        self.assertEqual([(OBJECT_BYTES + 4 * size, size)],
                         await self.data_of_extents())

    async def test_extents_of_less_than_they_are_told_in(self):
        size = self.EXTENT_BYTES
        await self.write(OBJECT_BYTES + 4 * size, b'x' * BLOCK)
        self.assertEqual([(OBJECT_BYTES + 4 * size, size)],
                         await self.data_of_extents())

    async def data_of_extents(self):
        """(offset, size) of what is called data in the volume."""
        offset = 0
        data = []
        for size, is_data in await self.extents(0, SIZE):
            if is_data and data and sum(data[-1]) == offset:
                data[-1] = data[-1][0], data[-1][1] + size
            elif is_data:
                data.append((offset, size))
            offset += size
        return data

    async def test_extents_of_ragged_ranges(self):
        await self.write(BLOCK, b'x' * BLOCK)
        await self.write(SIZE - 5, b'tail!')
        for offset, length in ((0, 1), (BLOCK - 1, 2), (BLOCK + 7, 1),
                               (2 * BLOCK - 1, 2), (SIZE - 3, 3),
                               (SIZE - 2 * BLOCK - 1, 2 * BLOCK + 1),
                               (OBJECT_BYTES - 1, 2)):
            await self.extents(offset, length)
        self.assertEqual(await self.extents(BLOCK + 7, 1), [(1, True)])

    async def test_zeroes_and_discards_give_holes(self):
        await self.write(0, b'x' * SIZE)
        await self.volume.zero(0, OBJECT_BYTES)
        self.twin[:OBJECT_BYTES] = bytes(OBJECT_BYTES)
        await self.volume.discard(2 * OBJECT_BYTES, OBJECT_BYTES)
        self.twin[2 * OBJECT_BYTES:3 * OBJECT_BYTES] = bytes(OBJECT_BYTES)
        for index, is_data in enumerate((False, True, False)):
            self.assertEqual(
                {kind for _size, kind in await self.extents(
                    index * OBJECT_BYTES, OBJECT_BYTES)}, {is_data})

    async def test_extents_of_nothing(self):
        self.assertEqual(list(await self.volume.extents(0, 0)), [])

    # Durability: what can be seen of it from here.

    async def test_flush_and_fua_are_taken_everywhere(self):
        await self.volume.flush()
        await self.write(0, b'x' * 4 * BLOCK, fua=True)
        await self.volume.zero(0, BLOCK, fua=True)
        self.twin[:BLOCK] = bytes(BLOCK)
        await self.volume.discard(SIZE - 1, 1, fua=True)
        await self.volume.flush()
        self.assertEqual(await self.volume.read(0, 4 * BLOCK),
                         bytes(self.twin[:4 * BLOCK]))

    # Refusals.

    async def test_nothing_is_outside_of_the_volume(self):
        for call in (self.volume.read(SIZE - 1, 2),
                     self.volume.read(SIZE + OBJECT_BYTES, 1),
                     self.volume.write(SIZE - 1, b'xx'),
                     self.volume.zero(SIZE, 1),
                     self.volume.discard(1, SIZE),
                     self.volume.extents(0, SIZE + 1)):
            with self.assertRaises(errors.InvalidParameters):
                await call
        await self.check_content()

    async def test_submit_hands_errors_to_done(self):
        (error, data), = await self.submit(self.volume.submit_read, SIZE, 1)
        self.assertIsInstance(error, errors.InvalidParameters)
        self.assertIsNone(data)
        (error,), = await self.submit(self.volume.submit_write, SIZE, b'x',
                                      False)
        self.assertIsInstance(error, errors.InvalidParameters)

    async def test_a_read_only_volume_can_be_read_only(self):
        await self.write(0, b'kept')
        volume = await self.make_read_only(self.volume)
        self.assertTrue(volume.read_only)
        self.assertEqual(await volume.read(0, 4), b'kept')
        await volume.flush()
        for call in (volume.write(0, b'lost'), volume.zero(0, 4),
                     volume.discard(0, BLOCK)):
            with self.assertRaises(errors.ReadOnly):
                await call
        self.assertEqual(await volume.read(0, 4), b'kept')
        await volume.close()

    # Growing.

    async def test_it_grows_while_open(self):
        await self.write(0, b'x' * SIZE)
        told = []
        self.volume.on_resize.append(told.append)
        grown = SIZE + OBJECT_BYTES
        await self.resize(self.volume, grown)
        self.assertEqual(self.volume.size, grown)
        self.assertEqual(told, [grown])
        self.assertEqual(await self.volume.read(SIZE - 1, 2), b'x\0')
        await self.volume.write(grown - 1, b'!')
        self.assertEqual(await self.volume.read(grown - 1, 1), b'!')

    # Anything.

    async def test_a_random_walk_agrees_with_its_twin(self):
        chance = random.Random(4)
        for _count in range(self.OPERATIONS):
            await self._step(chance)
        await self.check_content()
        await self.extents(0, SIZE)

    async def _step(self, chance):
        # Small and large, and near the bounds of objects more than chance
        # would have it.
        length = min(int(chance.paretovariate(0.4) * 100), OBJECT_BYTES)
        if chance.random() < 0.3:
            offset = (chance.randrange(1, 4) * OBJECT_BYTES -
                      chance.randrange(min(length, 2 * BLOCK) + 1))
        else:
            offset = chance.randrange(SIZE)
        length = min(length, SIZE - offset)
        end = offset + length
        verb = chance.choice(('write', 'write', 'read', 'zero', 'fill',
                              'discard', 'extents', 'flush'))
        if verb == 'write':
            await self.write(offset, chance.randbytes(length),
                             fua=chance.random() < 0.2)
        elif verb == 'read':
            self.assertEqual(await self.volume.read(offset, length),
                             bytes(self.twin[offset:end]))
        elif verb in ('zero', 'fill'):
            await self.volume.zero(offset, length, may_punch=verb == 'zero')
            self.twin[offset:end] = bytes(length)
        elif verb == 'discard':
            await self.volume.discard(offset, length)
            left = await self.volume.read(offset, length)
            for index, byte in enumerate(left):
                if byte:
                    self.assertEqual(byte, self.twin[offset + index])
            self.twin[offset:end] = left
        elif verb == 'extents':
            await self.extents(offset, length)
        else:
            await self.volume.flush()
