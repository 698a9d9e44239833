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


"""A start where not one byte is left."""

from sheepdog.store import ballast
from sheepdog.store import store as store_module
from sheepdog.testing import image
from sheepdog.tests.unit.store import case

BLOCK = case.BLOCK


class TestBallast(case.StoreCase):
    settings = store_module.StoreSettings(
        meta=case.META, journal_bytes=2 << 20, reserve_bytes=4 << 20)

    def setUp(self):
        super().setUp()
        self.open()
        self.write(1, 0, b'1' * case.CAPACITY)

    def laid_aside(self):
        return self.host.image.lookup(
            ballast.path_of(case.META)).allocated_pages() * image.PAGE

    def test_it_starts_again_and_again(self):
        self.assertEqual(ballast.BYTES, self.laid_aside())
        for power in (False, True, False, True):
            self.host.image.fill(0)
            self.crash(power)
            self.host.image.fill(0)
            self.open()
            self.assertEqual(b'1' * BLOCK, self.read(1, 0, BLOCK))
            self.write(1, 0, b'1' * BLOCK)
            self.assertLess(0, self.laid_aside())
        self.remove(1)
        self.assertGreaterEqual(self.store.space().free, case.CAPACITY)
        self.host.image.unfill()
        self.reopen()
        self.assertEqual(ballast.BYTES, self.laid_aside())

    def test_without_a_reserve_there_is_none(self):
        self.host.image.directory(case.META).change(('ballast', None))
        self.reopen(reserve_bytes=0)
        with self.assertRaises(FileNotFoundError):
            self.laid_aside()
        self.close()
        self.host.image.fill(0)
        with self.assertRaises(store_module.StoreRefused):
            self.open(reserve_bytes=0)
