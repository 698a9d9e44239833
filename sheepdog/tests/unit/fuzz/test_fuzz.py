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

"""Every parser over its corpus and some thousand mutants: the short run.

``make fuzz`` runs longer. What it finds goes into ``fuzz/corpus/TARGET``,
mended, and is run here from then on.
"""

import importlib
import logging
import unittest

from fuzz import engine
from fuzz import registry

TARGETS = registry.load()
GROWTH_MAX_BYTES = 256 << 10


class ShortRunTest(unittest.TestCase):
    """One test per target, added below."""

    def setUp(self):
        # Parsers tell the log what they leave out; some do so often.
        logging.disable(logging.CRITICAL)
        self.addCleanup(logging.disable, logging.NOTSET)

    def check(self, target):
        findings = engine.run_corpus(target)
        if not findings:
            finding = engine.run_mutants(target, target.cases)
            findings = [finding] if finding else []
        if findings:
            self.fail(str(findings[0]))


def _add(target):
    def test(self):
        self.check(target)

    name = 'test_' + target.name.replace('-', '_')
    test.__name__ = name
    setattr(ShortRunTest, name, test)


for _target in TARGETS.values():
    _add(_target)


class CorpusTest(unittest.TestCase):
    def test_each_target_has_its_seeds(self):
        for target in TARGETS.values():
            with self.subTest(target.name):
                kept = [data for name, data in target.inputs()
                        if name.startswith('seed-')]
                self.assertEqual(list(target.seeds()), kept,
                                 'run python -m fuzz --write-seeds')

    def test_seeds_are_accepted(self):
        """Or mutants of them would all fail alike, at the door."""
        for target in TARGETS.values():
            accepted = 0
            for name, data in target.inputs():
                if name.startswith('seed-'):
                    accepted += self.is_accepted(target, data)
            with self.subTest(target.name):
                self.assertTrue(accepted)

    @staticmethod
    def is_accepted(target, data):
        try:
            target.run(data)
        except target.errors:
            return False
        return True

    def test_corpus_is_small_and_known(self):
        folders = {path.name for path in registry.CORPUS.iterdir()}
        self.assertEqual(set(TARGETS), folders)
        size = sum(path.stat().st_size
                   for path in registry.CORPUS.rglob('*') if path.is_file())
        self.assertLess(size, 1 << 20)

    def test_repair_takes_anything(self):
        for target in TARGETS.values():
            if target.repair is None:
                continue
            for data in (b'', b'\0', b'\xff' * 100, bytes(5000)):
                with self.subTest(target.name):
                    target.repair(data)
            for data in target.seeds():
                with self.subTest(target.name):
                    # What is right stays as it is.
                    self.assertEqual(target.repair(data),
                                     target.repair(target.repair(data)))

    def test_covered_modules_exist(self):
        for target in TARGETS.values():
            for name in target.covers:
                importlib.import_module(name)


class MemoryTest(unittest.TestCase):
    def test_nothing_stays_of_an_input(self):
        logging.disable(logging.CRITICAL)
        self.addCleanup(logging.disable, logging.NOTSET)
        for target in TARGETS.values():
            if target.name in ('native-bitmap', 'whole-sheep'):
                # 2 MiB each time, by nature; a world each time: minutes.
                continue
            with self.subTest(target.name):
                self.assertLess(engine.growth_bytes(target, rounds=3),
                                GROWTH_MAX_BYTES)
