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

"""The tables from our errors to the protocol's."""

import unittest

from sheepdog.model import errors
from sheepdog.wire import nbd


class TestTables(unittest.TestCase):

    def test_errors_of_requests(self):
        for error, number in (
                (errors.NoSpace(), nbd.ENOSPC),
                (errors.ReadOnly(), nbd.EPERM),
                (errors.InvalidParameters(), nbd.EINVAL),
                (errors.ShuttingDown(), nbd.ESHUTDOWN),
                (errors.VdiLocked(), nbd.ESHUTDOWN),
                (errors.ChecksumError(), nbd.EIO),
                (errors.Unreachable(), nbd.EIO),
                (MemoryError(), nbd.ENOMEM),
                (OSError(), nbd.EIO)):
            self.assertEqual(nbd.errno_of(error), number, error)

    def test_every_error_has_a_number_that_has_a_name(self):
        for error in errors.BY_RESULT.values():
            self.assertIn(nbd.errno_of(error()), nbd.ERROR_NAMES)
            self.assertGreater(nbd.refusal_of(error()), 1 << 31)

    def test_refusals_of_exports(self):
        for error, reply in (
                (errors.NoVdi(), nbd.REP_ERR_UNKNOWN),
                (errors.NoTag(), nbd.REP_ERR_UNKNOWN),
                (errors.VdiLocked(), nbd.REP_ERR_POLICY),
                (errors.NotServing(), nbd.REP_ERR_POLICY),
                (errors.ShuttingDown(), nbd.REP_ERR_SHUTDOWN)):
            self.assertEqual(nbd.refusal_of(error), reply, error)


class TestExportFlags(unittest.TestCase):

    def test_writable(self):
        flags = nbd.export_flags(False, True)
        for flag in (nbd.FLAG_HAS_FLAGS, nbd.FLAG_SEND_FLUSH,
                     nbd.FLAG_SEND_FUA, nbd.FLAG_SEND_TRIM,
                     nbd.FLAG_SEND_WRITE_ZEROES, nbd.FLAG_SEND_FAST_ZERO,
                     nbd.FLAG_CAN_MULTI_CONN):
            self.assertTrue(flags & flag)
        self.assertFalse(flags & (nbd.FLAG_READ_ONLY | nbd.FLAG_SEND_DF))

    def test_read_only(self):
        flags = nbd.export_flags(True, True)
        self.assertTrue(flags & nbd.FLAG_READ_ONLY)
        self.assertFalse(flags & (nbd.FLAG_SEND_TRIM |
                                  nbd.FLAG_SEND_WRITE_ZEROES))

    def test_multi_conn_is_not_promised_unless_it_is_so(self):
        self.assertFalse(nbd.export_flags(False, False) &
                         nbd.FLAG_CAN_MULTI_CONN)
