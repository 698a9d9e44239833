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

"""What a sheep does with a store that is not ours, or not yet."""

import asyncio
import json
import pathlib
import shutil
import tempfile
import types
import unittest

from sheepdog.cmd import exits
from sheepdog.cmd import upgrade
from sheepdog.store import settings as store_settings
from sheepdog.tests.unit.legacy import test_formats


class CheckTest(unittest.TestCase):
    def setUp(self):
        self.meta = pathlib.Path(tempfile.mkdtemp(prefix='sheepdog-'))
        self.addCleanup(shutil.rmtree, self.meta)

    def check(self, wanted=False):
        upgrade.check(types.SimpleNamespace(meta=str(self.meta),
                                            upgrade=wanted))

    def refused(self, word, wanted=False):
        with self.assertRaisesRegex(exits.Stop, word) as caught:
            self.check(wanted)
        self.assertEqual(exits.SYSTEM, caught.exception.exit_code)

    def test_nothing_there(self):
        self.check()
        shutil.rmtree(self.meta)
        self.check()
        self.meta.mkdir()

    def test_one_of_ours(self):
        (self.meta / 'config').write_text(
            json.dumps({'created': 1}).ljust(40))
        self.check()

    def test_the_original_s(self):
        (self.meta / 'config').write_bytes(test_formats.REAL)
        self.refused('store of the original')
        self.refused('store of the original', True)

    def test_not_taken_over_to_its_end(self):
        for text in '{"is_done": false}', '{', '[]', '[' * 100000, '5':
            (self.meta / 'upgrade').write_text(text)
            self.refused('not taken over to its end')
            self.check(True)
        (self.meta / 'upgrade').write_text('{"is_done": true}')
        self.check()

    def test_nothing_to_finish(self):
        asyncio.run(upgrade.finish(types.SimpleNamespace(
            store=store_settings.StoreSettings(str(self.meta)))))
        self.assertEqual([], list(self.meta.iterdir()))
