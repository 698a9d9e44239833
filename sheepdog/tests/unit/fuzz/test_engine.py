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

"""The fuzzers find what they are there to find, and forget no parser."""

import pathlib
import re
import unittest
from unittest import mock

from fuzz import engine
from fuzz import registry
from sheepdog.cluster import decisions
from sheepdog.cluster import ledger
from sheepdog.cluster import messages
from sheepdog.faces.native import arguments
from sheepdog.model import inode
from sheepdog.peer import answers
from sheepdog.store import replay
from sheepdog.volume import catalogue
from sheepdog.wire import nbd_options

TARGETS = registry.load()
ROOT = pathlib.Path(__file__).resolve().parents[3]

# A module that has one of these reads bytes or text of somebody else's.
PARSES = re.compile(
    r'json\.loads?\(|unpack_from\(|\.iter_unpack\(|\.frombytes\(|'
    r'numpy\.frombuffer\(|\bunpack_json\(|_dict\(fields|def parse_')

EXCUSED = {
    'sheepdog/erasure/codec.py': 'strips of known length, no format',
    'sheepdog/client/client.py': 'asks, parses by connection',
    'sheepdog/client/maps.py': 'an array of numbers, by inode-head',
    'sheepdog/backup/records.py': 'one note of our own, to a tool',
    'sheepdog/cmd/background.py': 'its own child, over a pipe',
    'sheepdog/cmd/images/qemu.py': 'what qemu-img says, to a tool',
    'sheepdog/volume/branching.py': 'an array of numbers, read whole',
    'sheepdog/volume/inode_map.py': 'an array of numbers, read whole',
    'sheepdog/volume/reclaimer.py': 'an array of numbers, read whole',
    'sheepdog/volume/shrinking.py': 'an array of numbers, read whole',
    'sheepdog/cmd/departure.py': 'the answer of a sheep, to a tool',
    'sheepdog/cmd/upgrade.py': 'one flag; the rest is upgrade-record',
    'sheepdog/cmd/neighbours.py': 'catches all that can go wrong',
    'sheepdog/faces/native/forms.py': 'an array of numbers; see its twin',
    'sheepdog/faces/native/remains.py': 'whole entries of an array',
    'sheepdog/cluster/follower.py': 'by messages and state',
    'sheepdog/cluster/opening.py': 'by messages and state',
    'sheepdog/gateway/changes.py': 'STATE, by unpack_json',
    'sheepdog/recovery/compare.py': 'STATE and TABLE, by peer.answers',
    'sheepdog/recovery/fetch.py': 'bytes of a known length',
    'sheepdog/recovery/mover.py': 'STATE and TABLE, by unpack_json',
    'sheepdog/recovery/room.py': 'TABLE, by peer.answers',
    'sheepdog/recovery/scrub.py': 'LIST and SUSPECT, by unpack_json',
    'sheepdog/peer/links.py': 'by unpack_json',
    'sheepdog/placement/ring.py': 'its own tables',
    'sheepdog/store/quarantine.py': 'its own notes, or says they are none',
    'sheepdog/faces/native/admin.py': 'whole sheep: tests of hostility',
    'sheepdog/faces/native/port.py': 'whole sheep: tests of hostility',
}


class RegistryTest(unittest.TestCase):
    def test_no_parser_is_forgotten(self):
        covered = {'%s.py' % name.replace('.', '/')
                   for target in TARGETS.values() for name in target.covers}
        wire = {'sheepdog/wire/%s' % path.name
                for path in (ROOT / 'wire').glob('[a-z]*.py')}
        self.assertEqual(set(), wire - covered)
        parsers = set()
        for path in ROOT.rglob('*.py'):
            name = str(path.relative_to(ROOT.parent))
            if name.startswith(('sheepdog/tests/', 'sheepdog/testing/')):
                continue
            if PARSES.search(path.read_text()):
                parsers.add(name)
        forgotten = parsers - covered - set(EXCUSED)
        self.assertEqual(set(), forgotten,
                         'a target for these, or a line in EXCUSED')

    def test_excuses_are_needed(self):
        for name in EXCUSED:
            with self.subTest(name):
                self.assertTrue((ROOT.parent / name).exists())


def found(name, cases=3000):
    """The first bug that the short run finds in a target."""
    target = TARGETS[name]
    findings = engine.run_corpus(target)
    return findings[0] if findings else engine.run_mutants(target, cases)


class BiteTest(unittest.TestCase):
    """Planted bugs are found."""

    def test_an_error_that_is_not_documented(self):
        with mock.patch.object(inode, 'decode_name',
                               lambda field: bytes(field).rstrip(
                                   b'\0').decode()):
            finding = found('inode-head')
        self.assertIsInstance(finding.error, UnicodeDecodeError)

    def test_a_length_that_is_trusted(self):
        with mock.patch.object(nbd_options, '_number',
                               lambda layout, payload, position:
                               layout.unpack_from(payload, position)[0]):
            self.assertEqual('error', type(found('nbd-options').error)
                             .__name__)

    def test_a_hang(self):
        def spin(field):
            while True:
                pass

        with mock.patch.object(inode, 'decode_name', spin), \
                mock.patch.object(engine, 'CPU_SECONDS', 0.2):
            self.assertIsInstance(found('inode-head').error, engine.Hang)

    def test_a_giant_allocation(self):
        with mock.patch.object(catalogue, '_checked',
                               lambda head: head):
            self.assertIsInstance(found('vdi-inode').error,
                                  (AssertionError, MemoryError))
        finding = engine.run_one(registry.Target(
            'giant', lambda data: bytearray(1 << 40), (), (), None), b'')
        self.assertIsInstance(finding.error, MemoryError)

    def test_damage_behind_a_checksum(self):
        """Mutants get past checksums."""
        with mock.patch.object(replay, '_BLOCK', 4095):
            self.assertIsNotNone(found('journal-segments'))
        with mock.patch.object(ledger, '_MALFORMED', ()):
            self.assertIsNotNone(found('cluster-snapshot'))
            self.assertIsNotNone(found('cluster-log'))

    def test_a_cluster_that_falls_apart(self):
        """Nothing raises where it is noticed: no member takes a record
        whose operation is named by a number."""
        target = TARGETS['whole-sheep']
        data = (target.corpus / 'found-operation-id').read_bytes()
        with mock.patch.object(messages, 'check_operation',
                               lambda operation: None), \
                mock.patch.object(arguments, 'type_of',
                                  lambda parameter: None):
            finding = engine.run_one(target, data)
        self.assertIn('it lost its place', str(finding))
        self.assertIsNone(engine.run_one(target, data))

    def test_a_task_that_fails(self):
        target = TARGETS['whole-sheep']
        data = (target.corpus / 'found-copies').read_bytes()
        settings = decisions.format_settings

        def unchecked(fields, *more):
            return fields.get('copies', 0) > 0 and settings(fields, *more)

        with mock.patch.object(decisions, 'format_settings', unchecked), \
                mock.patch.object(arguments, 'type_of',
                                  lambda parameter: None):
            finding = engine.run_one(target, data)
        self.assertIn('TypeError', str(finding))

    def test_a_ragged_answer(self):
        with mock.patch.object(answers, '_unpack_all',
                               lambda layout, payload: list(
                                   layout.iter_unpack(payload))):
            self.assertIsNotNone(found('peer-answers'))

    def test_memory_that_is_kept(self):
        kept = []
        target = TARGETS['inode-head']
        leaky = registry.Target(
            target.name, lambda data: kept.append(data * 100),
            target.errors, target.covers, target.seeds)
        self.assertGreater(engine.growth_bytes(leaky), 1 << 20)
