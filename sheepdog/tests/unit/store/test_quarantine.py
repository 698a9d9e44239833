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

"""What cannot be explained is kept, whatever happens."""

import unittest

from sheepdog.model import errors
from sheepdog.store import checksums
from sheepdog.store import objects as store_objects
from sheepdog.tests.unit.store import case

BLOCK = case.BLOCK
OID = 0x1_0000_0001
QUARANTINE = case.META + '/quarantine'


class QuarantineCase(case.StoreCase):

    def notes(self):
        return self.wait(self.store.quarantine.list())

    def kept(self):
        """The one file that is there."""
        note, = self.notes()
        return self.host.image.lookup('%s/%s' % (QUARANTINE, note['name']))

    def set_aside(self, *arguments, **keywords):
        return self.wait(self.store.set_aside(*arguments, **keywords))


class SetAsideTest(QuarantineCase):

    def test_nothing(self):
        self.open()
        self.assertEqual([], self.notes())
        self.assertEqual(0, self.wait(self.store.quarantine.used_bytes()))
        self.assertFalse(self.set_aside(OID, 'no reason'))
        self.assertEqual([], self.notes())

    def test_kept_and_there(self):
        self.open()
        self.write(OID, 0, b'a' * BLOCK, version=7)
        self.assertTrue(self.set_aside(OID, 'for a reason'))
        note, = self.notes()
        self.assertEqual(
            ('for a reason', '%016x' % OID, 7, '/meta/obj/%016x' % OID),
            (note['why'], note['object'], note['version'], note['was']))
        self.assertEqual(b'a' * BLOCK, self.read(OID, 0, BLOCK))
        self.assertGreater(self.wait(self.store.quarantine.used_bytes()),
                           BLOCK)
        self.assertEqual(1, self.store.quarantine.kept)

    def test_what_is_adopted_since_does_not_change_it(self):
        self.open()
        self.write(OID, 0, b'a' * BLOCK)
        self.set_aside(OID, 'for a reason')
        self.wait(self.store.adopt(OID, 2, case.CAPACITY,
                                   [(0, b'b' * BLOCK)], True))
        self.assertEqual(b'a' * BLOCK, self.kept().read(BLOCK, 0))
        self.assertEqual(b'b' * BLOCK, self.read(OID, 0, BLOCK))

    def test_removed(self):
        self.open()
        self.write(OID, 0, b'a' * BLOCK)
        self.assertTrue(self.set_aside(OID, 'for a reason', remove=True))
        self.assertIsNone(self.store.version(OID))
        for power in False, True:
            self.crash(power)
            self.open()
            self.assertIsNone(self.store.version(OID))
            inode = self.kept()
            self.assertEqual(b'a' * BLOCK, inode.read(BLOCK, 0))
            self.assertEqual(1, self.store.quarantine.kept)
        # What can be read of it there is all that it was.
        head = store_objects.unpack_attribute(
            inode.attributes[store_objects.ATTRIBUTE])
        self.assertEqual(1, head[0])
        self.assertEqual(checksums.entry(b'a' * BLOCK), int.from_bytes(
            inode.read(4, case.CAPACITY), 'little'))
        # It may be made anew.
        self.write(OID, 0, b'c' * BLOCK)
        self.assertEqual(b'a' * BLOCK, self.kept().read(BLOCK, 0))

    def test_one_that_has_changed(self):
        self.open()
        self.write(OID, 0, b'a' * BLOCK)
        state = self.wait(self.store.describe(OID))
        self.write(OID, 0, b'b' * BLOCK)
        self.assertFalse(self.set_aside(OID, 'no', remove=True,
                                        digest=state.digest))
        self.assertEqual(b'b' * BLOCK, self.read(OID, 0, BLOCK))
        state = self.wait(self.store.describe(OID))
        self.assertTrue(self.set_aside(OID, 'yes', remove=True,
                                       digest=state.digest))

    def test_what_waits_comes_after_it(self):
        """A write that came meanwhile is to the new object."""
        self.open()
        self.write(OID, 0, b'a' * BLOCK)

        async def both():
            task = self.host.world.spawn(
                self.store.set_aside(OID, 'for a reason', remove=True))
            while OID not in self.store._turns.busy:
                await case.asyncio.sleep(0)
            future = case.asyncio.get_running_loop().create_future()
            self.store.write(OID, 2, BLOCK, b'b' * BLOCK, future.set_result,
                             capacity=case.CAPACITY)
            return await task, await future

        self.assertEqual((True, None), self.wait(both()))
        self.assertEqual(bytes(BLOCK) + b'b' * BLOCK,
                         self.read(OID, 0, 2 * BLOCK))
        self.assertEqual(b'a' * BLOCK, self.kept().read(BLOCK, 0))

    def test_a_disk_that_refuses(self):
        self.open()
        self.write(OID, 0, b'a' * BLOCK)
        self.host.faults.fails_writes = True
        with self.assertRaises(errors.StorageError):
            self.set_aside(OID, 'for a reason', remove=True)
        self.host.faults.fails_writes = False
        self.assertEqual([], self.notes())
        self.assertEqual(b'a' * BLOCK, self.read(OID, 0, BLOCK))

    def test_a_crash_at_any_moment(self):
        """It is an object, or in quarantine, or both; never none of it."""
        self.open()
        self.write(OID, 0, b'a' * BLOCK)
        for after in range(1, 30):
            self.host.process.kill_after(after)
            try:
                self.wait(self.store.set_aside(OID, 'x', remove=True))
                is_over = True
            except BaseException as error:
                if self.host.is_running:
                    raise error
                is_over = False
            self.crash(power=True)
            self.open()
            kept = [self.host.image.lookup('%s/%s' % (
                QUARANTINE, note['name'])) for note in self.notes()
                if self.host.world.disk.exists('%s/%s' % (
                    QUARANTINE, note['name']))]
            if self.store.version(OID) is None:
                self.assertTrue(kept)
                self.assertEqual(b'a' * BLOCK, kept[-1].read(BLOCK, 0))
            else:
                self.assertEqual(b'a' * BLOCK, self.read(OID, 0, BLOCK))
            if is_over:
                return
        self.fail('it never ended')


class StartTest(QuarantineCase):

    def put(self, name, content=b'?'):
        file = self.host.world.disk.open('/meta/obj/' + name, create=True)
        file.pwrite(content, 0)
        file.close()

    def test_names_of_no_object(self):
        self.open()
        self.put('core')
        self.put('%016x.bak' % OID)
        self.reopen()
        self.assertEqual(['%016x.bak' % OID, 'core'], sorted(
            note['was'].rpartition('/')[2] for note in self.notes()))
        self.assertEqual([], self.host.world.disk.list('/meta/obj'))
        self.assertEqual([], self.store.oids())

    def test_an_object_without_a_version(self):
        """It cannot be used; what is put in its place does not delete it.
        """
        self.open()
        self.write(OID, 0, b'a' * BLOCK)
        self.close()
        del self.inode(OID).attributes[store_objects.ATTRIBUTE]
        self.open()
        self.assertEqual(0, self.wait(self.store.describe(OID)).capacity)
        self.wait(self.store.adopt(OID, 1, case.CAPACITY,
                                   [(0, b'b' * BLOCK)], False))
        self.assertEqual(b'a' * BLOCK, self.kept().read(BLOCK, 0))
        self.assertIn('not a whole object file', self.notes()[0]['why'])
        self.assertEqual(b'b' * BLOCK, self.read(OID, 0, BLOCK))

    def test_the_same_with_its_creation_in_the_journal(self):
        self.open()
        self.write(OID, 0, b'a' * 32 * BLOCK)
        self.crash()
        del self.inode(OID).attributes[store_objects.ATTRIBUTE]
        self.open()
        self.assertEqual(b'a' * BLOCK, self.kept().read(BLOCK, 0))

    def test_one_that_was_being_made(self):
        """Its creation is explained, and so is an empty file."""
        for after in range(1, 12):
            self.open()
            self.host.process.kill_after(after)
            self.start(self.store.write, OID + after, 1, 0, b'a' * BLOCK,
                       capacity=case.CAPACITY)
            self.let_pass(1.0)
            self.crash()
        self.open()
        self.assertEqual([], self.notes())


class DeleteTest(QuarantineCase):

    def test_only_by_name(self):
        self.open()
        self.write(OID, 0, b'a' * BLOCK)
        self.set_aside(OID, 'one')
        self.set_aside(OID, 'two')
        quarantine = self.store.quarantine
        one, two = self.notes()
        for name in ('', 'x', '../store', one['name'] + '.json',
                     '../obj/%016x' % OID):
            with self.assertRaises(errors.NoObject):
                self.wait(quarantine.delete(name))
        self.wait(quarantine.delete(one['name']))
        self.assertEqual([two], self.notes())
        with self.assertRaises(errors.NoObject):
            self.wait(quarantine.delete(one['name']))
        self.assertEqual(1, quarantine.kept)
        self.reopen()
        self.assertEqual([two], self.notes())
        self.assertEqual(b'a' * BLOCK, self.read(OID, 0, BLOCK))

    def test_a_note_that_is_nonsense(self):
        self.open()
        self.write(OID, 0, b'a' * BLOCK)
        self.set_aside(OID, 'one')
        name = self.notes()[0]['name']
        for text in b'', b'[]', b'{"name": 1}', b'\xff':
            self.wait(self.host.world.disk.replace_file(
                '%s/%s.json' % (QUARANTINE, name), text))
            note, = self.notes()
            self.assertEqual(name, note['name'])
        self.wait(self.store.quarantine.delete(name))
        self.assertEqual([], self.notes())


if __name__ == '__main__':
    unittest.main()
