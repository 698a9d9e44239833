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

"""Tests of sheepdog.cmd.publisher and sheepdog.cmd.monitoring."""

import asyncio
import os
import pathlib
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import unittest
from unittest import mock

from sheepdog.cmd import monitoring
from sheepdog.cmd import publisher
from sheepdog.conf import settings
from sheepdog.faces.notifications import events

SECONDS = 60
ROOT = pathlib.Path(__file__).resolve().parents[4]


def notification(number, name='cluster.shutdown'):
    return events.Notification(events.KINDS[name], {'number': number})


class FakeNotifier:
    """Hangs while ``away`` is not set."""

    def __init__(self):
        self.got = []
        self.there = threading.Event()
        self.there.set()

    def info(self, context, event_type, payload):
        self.there.wait(SECONDS)
        if payload['number'] == 'bad':
            raise ValueError('a bug')
        self.got.append((event_type, payload['number']))

    def error(self, context, event_type, payload):
        self.got.append(('error', event_type))


class PublisherTest(unittest.TestCase):
    def setUp(self):
        self.notifier = FakeNotifier()
        self.publisher = self.make(lambda settings, name: self.notifier)
        self.addCleanup(self.notifier.there.set)

    def make(self, make):
        made = publisher.Publisher(
            settings.NotificationSettings(('messagingv2',)), 'sheepdog.h:1',
            make)
        made.start()
        return made

    def until(self, condition):
        deadline = time.monotonic() + SECONDS
        while not condition():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.005)

    def test_in_order_and_by_priority(self):
        for number in range(5):
            self.publisher.send(notification(number))
        self.publisher.send(notification(0, 'recovery.failed'))
        self.until(lambda: not self.publisher.waiting)
        self.assertEqual(
            [('sheepdog.cluster.shutdown', number) for number in range(5)]
            + [('error', 'sheepdog.recovery.failed')], self.notifier.got)
        self.assertEqual({'sent': 6, 'dropped': 0, 'failed': 0},
                         self.publisher.outcomes())

    def test_a_broker_that_is_away_costs_what_is_beyond_the_bound(self):
        self.notifier.there.clear()
        self.publisher.send(notification(0))
        self.until(lambda: not self.publisher._queue.qsize())
        with self.assertLogs(publisher.LOG, 'WARNING') as logs:
            began = time.monotonic()
            for number in range(1, publisher.QUEUE_MAX + 11):
                self.publisher.send(notification(number))
            self.assertLess(time.monotonic() - began, SECONDS / 2)
        self.assertEqual(1, len(logs.records))
        self.assertEqual(publisher.QUEUE_MAX + 1, self.publisher.waiting)
        self.assertEqual({'sent': 0, 'dropped': 10, 'failed': 0},
                         self.publisher.outcomes())
        # When it is back, those that waited are sent.
        self.notifier.there.set()
        self.until(lambda: not self.publisher.waiting)
        self.assertEqual(list(range(publisher.QUEUE_MAX + 1)),
                         [number for _, number in self.notifier.got])

    def test_one_that_cannot_be_sent(self):
        with self.assertLogs(publisher.LOG, 'ERROR'):
            self.publisher.send(notification('bad'))
            self.publisher.send(notification(1))
            self.until(lambda: not self.publisher.waiting)
        self.assertEqual({'sent': 1, 'dropped': 0, 'failed': 1},
                         self.publisher.outcomes())

    def test_no_notifier(self):
        def make(settings, name):
            raise ValueError('no such driver')

        with self.assertLogs(publisher.LOG, 'ERROR') as logs:
            made = self.make(make)
            made.send(notification(1))
            self.until(lambda: not made.waiting)
        self.assertIn('no such driver', logs.output[0])
        self.assertEqual(1, made.outcomes()['failed'])

    def test_stop_waits_for_the_last_ones(self):
        self.notifier.there.clear()
        self.publisher.send(notification(1))
        threading.Timer(0.1, self.notifier.there.set).start()
        asyncio.run(self.publisher.stop())
        self.assertEqual(1, len(self.notifier.got))

    def test_stop_does_not_wait_for_ever(self):
        self.notifier.there.clear()
        self.publisher.send(notification(1))
        with mock.patch.object(publisher, 'STOP_SECONDS', 0.1):
            with self.assertLogs(publisher.LOG, 'WARNING'):
                asyncio.run(self.publisher.stop())


class HarmlessTest(unittest.TestCase):
    def test_mistakes_go_no_further(self):
        other = mock.Mock()
        other.on_event.side_effect = KeyError('a bug')
        harmless = monitoring._Harmless(other)
        with self.assertLogs(monitoring.LOG, 'ERROR'):
            harmless.on_event({'kind': 'x'})
        harmless.on_view(None, 1, False)
        other.on_view.assert_called_once_with(None, 1, False)


class ImportsTest(unittest.TestCase):
    """What a sheep loads, in a process of its own."""

    def run_python(self, code, path=''):
        done = subprocess.run(
            [sys.executable, '-c', textwrap.dedent(code)],
            capture_output=True, text=True, env=dict(
                os.environ, PYTHONPATH='%s:%s' % (path, ROOT)))
        self.assertEqual(0, done.returncode, done.stderr)
        return done.stdout

    def test_no_eventlet_though_it_is_there(self):
        with tempfile.TemporaryDirectory() as directory:
            pathlib.Path(directory, 'eventlet.py').write_text(
                'print("eventlet was imported")\n')
            self.assertIn('was imported', self.run_python(
                'import eventlet', directory))
            self.assertEqual('the end\n', self.run_python('''
                from sheepdog.cmd import sheep, production, publisher
                from sheepdog.conf import settings
                publisher.make_notifier(settings.NotificationSettings(
                    ('messagingv2',), 'rabbit://h/'), 'me')
                import oslo_messaging
                print('the end')
                ''', directory))

    def test_nothing_of_it_where_it_is_off(self):
        self.assertEqual('[]\n', self.run_python('''
            import sys
            from sheepdog.cmd import sheep, production, wiring
            print([name for name in sys.modules if name.partition('.')[0] in (
                'oslo_messaging', 'oslo_service', 'kombu', 'amqp',
                'prometheus_client', 'h11')])
            '''))
