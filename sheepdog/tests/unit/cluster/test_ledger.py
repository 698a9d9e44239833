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

import asyncio
import json
import random
import unittest

from sheepdog.cluster import ledger as ledger_module
from sheepdog.cluster import log as log_module
from sheepdog.cluster import messages
from sheepdog.model import errors
from sheepdog.model import view as view_model
from sheepdog.testing import world as world_module
from sheepdog.tests.unit.cluster import test_state

META = '/meta'


class LedgerTest(unittest.TestCase):
    def setUp(self):
        self.simulation = world_module.Simulation(7)
        self.addCleanup(self.simulation.close)
        self.host = self.simulation.add_host('n', 16 << 20)
        self.begin()

    def begin(self):
        self.world = self.host.start()

        async def begin():
            self.world.disk.make_directory(META)
            await self.world.disk.sync_directory('/')
            return await ledger_module.Ledger.open(self.world, META)

        self.ledger = self.host.run(begin())

    def again(self, power=True):
        if power:
            self.host.power_cut()
            self.host.power_on()
        else:
            self.host.kill()
        self.begin()
        return self.ledger

    def append(self, *events):
        state = self.ledger.state.copy()
        records, told = [], []
        for event in events:
            records.append(state.next_record(3, 0.0, event, 'o%d'
                                             % state.sequence, 'r'))
            state.apply(records[-1])
        self.host.run(self.ledger.append(records, told.append))
        self.assertEqual(records, told)
        return state

    def format(self):
        return self.append({
            'kind': 'format', 'settings': {'created': 7},
            'view': test_state.view(1, test_state.NODES[:3])})

    def epoch(self, number):
        return {'kind': 'epoch',
                'view': test_state.view(number, test_state.NODES[:3])}

    def prepared(self, epoch=2, term=3):
        return messages.Prepared(
            epoch, term, 1, 9, 7, view_model.View.from_dict(
                test_state.view(epoch, test_state.NODES[:2])))

    def test_blank(self):
        self.assertEqual((0, ''), self.ledger.promise)
        self.assertEqual((0, 0), self.ledger.state.position)
        self.assertEqual([], self.ledger.views)

    def test_all_is_there_after_a_power_cut(self):
        self.format()
        state = self.append(test_state.create(1, 'a'), self.epoch(2))
        self.host.run(self.ledger.promise_term(4, 'x.1'))
        self.host.run(self.ledger.prepare(self.prepared()))
        ledger = self.again()
        self.assertEqual(state.to_dict(), ledger.state.to_dict())
        self.assertEqual((4, 'x.1'), ledger.promise)
        self.assertEqual(self.prepared(), ledger.prepared)
        self.assertEqual([1, 2], [view.epoch for view in ledger.views])

    def test_a_clean_mark_is_of_one_position(self):
        self.format()
        self.host.run(self.ledger.mark_clean())
        self.assertEqual((3, 1), self.again().clean)
        self.append(test_state.create(1, 'a'))
        self.assertIsNone(self.ledger.clean)
        self.assertIsNone(self.again().clean)

    def test_install(self):
        self.format()
        self.append(test_state.create(1, 'a'))
        self.host.run(self.ledger.prepare(self.prepared()))
        self.host.run(self.ledger.promise_term(4, 'x.1'))
        self.host.run(self.ledger.mark_clean())
        other = test_state.formatted()
        test_state.put(other, self.epoch(5))
        views = [view_model.View.from_dict(test_state.view(
            epoch, test_state.NODES[:3])) for epoch in (3, 4)]
        self.host.run(self.ledger.install(other, views + [other.view]))
        ledger = self.again()
        self.assertEqual(other.to_dict(), ledger.state.to_dict())
        self.assertEqual([3, 4, 5], [view.epoch for view in ledger.views])
        self.assertEqual((None, None, (4, 'x.1')), (
            ledger.prepared, ledger.clean, ledger.promise))

    def test_views_are_of_one_cluster(self):
        self.format()
        self.append(self.epoch(2))
        self.append({'kind': 'format', 'settings': {'created': 8},
                     'view': test_state.view(3, test_state.NODES[:1])})
        self.assertEqual([3], [view.epoch for view in self.ledger.views])
        self.simulation.run_for(1)
        self.assertEqual([3], [view.epoch for view in self.again().views])

    def test_the_configuration_can_be_read(self):
        self.format()
        self.simulation.run_for(1)
        fields = json.loads(self.host.run(
            self.world.disk.read_file(META + '/config')))
        self.assertEqual(7, fields['created'])

    def test_the_log_is_begun_anew(self):
        self.format()
        size = 0
        count = 0
        while self.ledger._number == 0:
            size = self.ledger._log.size
            count += 1
            self.append(*(test_state.create(100 * count + number, '%d-%d' % (
                count, number)) for number in range(100)))
        self.assertGreater(size, 0.8 * ledger_module.SNAPSHOT_LOG_BYTES)
        self.assertEqual(100 * count, len(self.again().state.vdis))
        logs = [name for name in self.world.disk.list(META + '/epoch')
                if name.startswith('log')]
        self.assertEqual(['log.1'], logs)

    def test_killed_at_each_step(self):
        """What was acknowledged is there, the rest wholly or not at all."""
        for steps in range(1, 40):
            self.simulation.close()
            self.simulation = world_module.Simulation(steps)
            self.host = self.simulation.add_host('n', 16 << 20)
            self.begin()
            self.format()
            done = []
            ledger, process = self.ledger, self.host.process

            async def work():
                state = ledger.state.copy()
                for number in range(4):
                    record = state.next_record(
                        3, 0.0, test_state.create(number, 'v%d' % number))
                    state.apply(record)
                    await ledger.append([record], lambda record: None)
                    done.append(state.to_dict())
                await ledger.install(state.copy(), list(ledger.views))
                done.append(state.to_dict())
                await ledger.promise_term(9, 'z.1')
                done.append('promise')

            process.kill_after(steps)
            self.world.spawn(work())
            self.simulation.run_for(1)
            is_dead = not process.is_alive
            ledger = self.again(power=random.Random(steps).random() < 0.5)
            states = [item for item in done if item != 'promise']
            self.assertGreaterEqual(ledger.state.sequence, 1 + min(
                len(states), 4))
            if states and ledger.state.sequence == states[-1]['sequence']:
                self.assertEqual(states[-1], ledger.state.to_dict())
            if 'promise' in done:
                self.assertEqual((9, 'z.1'), ledger.promise)
        self.assertFalse(is_dead, 'there are more steps to die at')

    def test_a_full_disk(self):
        self.format()
        room = self.world.disk.open(META + '/filler', create=True)
        free = self.world.disk.space(META).free
        room.pwrite(b'x' * (free - 8192), 0)
        for number in range(20):
            self.append(test_state.create(number, 'v%d' % number))
        self.assertEqual(20, len(self.again().state.vdis))

    def test_no_room_at_all(self):
        self.format()
        self.ledger._log.size += 3 << 18
        room = self.world.disk.open(META + '/filler', create=True)
        with self.assertRaises(OSError):
            while True:
                room.pwrite(b'x' * 4096, room.size())
        position = self.ledger.state.position
        with self.assertRaises(errors.NoSpace):
            self.append(test_state.create(1, 'a'))
        self.assertEqual(position, self.ledger.state.position)
        self.assertFalse(self.ledger.is_broken)

    def test_a_broken_disk(self):
        self.format()
        self.host.faults.fails_syncs = True
        with self.assertRaises(errors.StorageError):
            self.append(test_state.create(1, 'a'))
        self.assertTrue(self.ledger.is_broken)
        self.host.faults.fails_syncs = False
        with self.assertRaises(errors.StorageError):
            self.append(test_state.create(1, 'a'))

    def test_a_damaged_snapshot_is_refused(self):
        self.format()
        self.host.run(self.ledger.install(self.ledger.state.copy(),
                                          list(self.ledger.views)))
        file = self.world.disk.open(META + '/epoch/state')
        file.pwrite(b'!', 40)
        self.host.kill()
        with self.assertRaisesRegex(ledger_module.LedgerRefused, 'damaged'):
            self.begin()

    def test_a_later_format_is_refused(self):
        self.format()
        self.host.run(self.ledger.install(self.ledger.state.copy(), []))
        fields = json.loads(self.host.run(self.world.disk.read_file(
            META + '/epoch/state')).partition(b'\n')[2])
        payload = log_module.encode(dict(fields, format=99))
        self.host.run(self.world.disk.replace_file(
            META + '/epoch/state', b'%08x\n' % log_module.crc32c(payload) +
            payload))
        self.host.kill()
        with self.assertRaisesRegex(ledger_module.LedgerRefused, 'later'):
            self.begin()


class RecordLogTest(unittest.TestCase):
    def setUp(self):
        self.simulation = world_module.Simulation(1)
        self.addCleanup(self.simulation.close)
        self.host = self.simulation.add_host('n', 16 << 20)
        self.disk = self.host.start().disk

    def open(self, number=0):
        return log_module.RecordLog.open(self.disk, '/log', number)

    def append(self, log, *entries):
        self.host.run(log.append(list(entries)))

    def test_entries_come_back(self):
        log, entries = self.open()
        self.assertEqual([], entries)
        self.append(log, {'a': 1}, {'b': 'é'})
        self.append(log, {'c': None})
        again, entries = self.open()
        self.assertEqual([{'a': 1}, {'b': 'é'}, {'c': None}], entries)
        self.append(again, 4)
        self.assertEqual(4, len(self.open()[1]))

    def test_another_use_of_the_file_is_not_read(self):
        log, _ = self.open()
        self.append(log, 1, 2, 3)
        self.assertEqual([], self.open(number=1)[1])

    def test_what_follows_a_torn_record_is_not_read(self):
        log, _ = self.open()
        self.append(log, 'a', 'b', 'c')
        size = log.size // 3
        file = self.disk.open('/log')
        whole = file.pread(log.size, 0)
        for position in range(size, 2 * size):
            file.pwrite(bytes([whole[position] ^ 1]), position)
            log, entries = self.open()
            self.assertEqual(['a'], entries)
            file.pwrite(whole, 0)
        # Of the same length, in the place of the torn one: what was behind
        # that does not continue it.
        file.pwrite(b'\0', size)
        log, _ = self.open()
        self.append(log, 'B')
        self.assertEqual(['a', 'B'], self.open()[1])

    def test_one_after_the_other(self):
        log, _ = self.open()

        async def both():
            await asyncio.gather(log.append([1]), asyncio.sleep(0))
            await log.append([2])

        self.host.run(both())
        self.assertEqual([1, 2], self.open()[1])
