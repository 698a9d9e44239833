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


"""The base of tests that need a cluster, on a kind of coordination.

The tests of a class share one cluster; each begins with a whole one, and
after one that failed a new one is made. What the sheep said goes into the
report of a failure.
"""

import os
import pathlib
import shutil
import tempfile
import unittest

import testtools
from testtools import content

from sheepdog.model import errors
from sheepdog.testing import servers
from sheepdog.tests.functional import harness


def needs(*programs):
    """Skips where programs are not installed."""
    missing = [name for name in programs if shutil.which(name) is None]
    return unittest.skipIf(missing, 'not installed: %s' % ', '.join(missing))


SERVERS = {'file': servers.Files, 'zookeeper': servers.ZooKeeper,
           'etcd': servers.Etcd, 'redis': servers.Redis}


class Place:
    """A directory, a coordination server and a cluster.

    :param driver: a key of ``SERVERS``
    :param how: it is formatted: options
    """

    def __init__(self, driver, count, copies, options, ttl, how):
        self.directory = pathlib.Path(tempfile.mkdtemp(
            prefix='sheepdog-functional-'))
        self.server = None
        self.cluster = None
        try:
            self.server = SERVERS[driver]()
            self.server.start()
            self.cluster = harness.Cluster(
                self.directory, self.server.option, count, copies, options,
                ttl)
            self.cluster.start()
            self.cluster.form(**how)
        except BaseException as exc:
            exc.add_note(self.describe())
            self.end()
            raise

    def describe(self):
        return '\n'.join(
            '--- %s\n%s' % item for item in self.logs().items())

    def logs(self):
        return self.cluster.logs() if self.cluster is not None else {}

    def end(self):
        if self.cluster is not None:
            self.cluster.end()
        if self.server is not None:
            self.server.close()
        shutil.rmtree(self.directory, ignore_errors=True)


class DirectoryCase(testtools.TestCase):
    """A directory for each test."""

    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(tempfile.mkdtemp(
            prefix='sheepdog-functional-'))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)

    def attach(self, logs):
        for name, text in logs.items():
            self.addDetail(name, content.text_content(text))


class ClusterCase(DirectoryCase):
    """``self.cluster`` is whole when a test begins."""

    driver = 'file'
    count = 3
    copies = 3
    options = ()
    ttl = harness.TTL_SECONDS
    formatted = {}
    """How: options."""

    _place = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        server = SERVERS[cls.driver]
        if not server.is_installed():
            raise unittest.SkipTest('%s is not installed' % server.name)

    @classmethod
    def tearDownClass(cls):
        cls._discard()
        super().tearDownClass()

    @classmethod
    def _discard(cls):
        place, cls._place = cls._place, None
        if place is not None:
            place.end()

    def setUp(self):
        super().setUp()
        cls = type(self)
        if cls._place is not None:
            try:
                cls._place.cluster.make_whole()
            except AssertionError:
                # Not this test's fault, and that one has failed already.
                cls._discard()
        if cls._place is None:
            cls._place = Place(self.driver, self.count, self.copies,
                               self.options, self.ttl, self.formatted)
        self.cluster = cls._place.cluster
        self.addOnException(self._on_exception)

    def _on_exception(self, _exc_info):
        place = type(self)._place
        if place is not None:
            self.attach(place.logs())
            self._keep(place)
        self._discard()

    def _keep(self, place):
        """Where someone wants to look at what a failure left."""
        kept = os.environ.get('SHEEPDOG_KEEP')
        if kept:
            place.cluster.end()
            shutil.copytree(place.directory, pathlib.Path(kept) / self.id(),
                            dirs_exist_ok=True, symlinks=True,
                            ignore=shutil.ignore_patterns('sock', '*.sock'))

    def create(self, name, size, **options):
        """A VDI for the length of this test."""
        vdi = self.cluster.create(name, size, **options)
        self.addCleanup(self._delete, name)
        return vdi

    def _delete(self, name):
        # After a failure there is no cluster; a test may have deleted it.
        if type(self)._place is None:
            return
        try:
            with self.cluster.client() as client:
                client.vdis.delete(name)
        except errors.SheepdogError:
            type(self)._discard()

    def be_patient(self):
        """See ``Cluster``; the next test begins with a new one."""
        self.cluster.be_patient()
        self.addCleanup(self._discard)

    def start_writer(self, writer):
        self.addCleanup(writer.abandon)
        return writer.start()
