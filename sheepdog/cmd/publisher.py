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

"""Notifications to oslo.messaging, in a thread of their own.

The only module that knows oslo.messaging; it is imported in that thread, and
only where notifications are configured. The loop hands notifications over and
goes on. The thread tries one until the broker has it; what comes while
QUEUE_MAX wait is dropped and counted: a broker that is away costs memory for
that many, and nothing else.
"""

import asyncio
import logging
import queue
import threading
import time

LOG = logging.getLogger(__name__)

QUEUE_MAX = 1000
STOP_SECONDS = 2.0
"""What an orderly stop waits for the last ones to go out."""

RETRIES = 1 << 30
"""Without end. (-1, which should say so, makes the library give up where its
first connection is refused, with only a line in the log.)"""

POLL_SECONDS = 0.02
LOG_SECONDS = 60.0


class Publisher:
    """``faces.notifications.events.Sink``.

    :param settings: ``conf.settings.NotificationSettings``
    :param name: who publishes: ``sheepdog.HOST:PORT``
    :param make: makes a notifier of both; None: one of oslo.messaging
    """

    def __init__(self, settings, name: str, make=None):
        self._settings = settings
        self._name = name
        self._make = make or make_notifier
        self._queue: queue.Queue = queue.Queue(QUEUE_MAX)
        self._is_busy = False
        self._sent = 0
        self._dropped = 0
        self._failed = 0
        self._quiet_until = 0.0
        # A daemon: it may hang in a call that no broker answers.
        self._thread = threading.Thread(target=self._run, daemon=True,
                                        name='notifications')

    def start(self) -> None:
        self._thread.start()

    # In the loop.

    def send(self, notification) -> None:
        try:
            self._queue.put_nowait(notification)
        except queue.Full:
            self._dropped += 1
            now = time.monotonic()
            if now >= self._quiet_until:
                self._quiet_until = now + LOG_SECONDS
                LOG.warning('notifications: %d are waiting, so that %s is '
                            'dropped (%d so far)', QUEUE_MAX,
                            notification.kind.name, self._dropped)

    def outcomes(self) -> dict:
        return {'sent': self._sent, 'dropped': self._dropped,
                'failed': self._failed}

    @property
    def waiting(self) -> int:
        return self._queue.qsize() + self._is_busy

    async def stop(self) -> None:
        """Give the last ones a moment."""
        deadline = time.monotonic() + STOP_SECONDS
        while self.waiting and self._thread.is_alive():
            if time.monotonic() > deadline:
                LOG.warning('notifications: %d were not sent', self.waiting)
                return
            await asyncio.sleep(POLL_SECONDS)

    # In the thread.

    def _run(self) -> None:
        try:
            notifier = self._make(self._settings, self._name)
        except Exception as error:
            # Wrong settings, as a rule. Not worth a sheep.
            LOG.error('notifications cannot be sent: %s: %s',
                      type(error).__name__, error)
            notifier = None
        while True:
            notification = self._queue.get()
            self._is_busy = True
            if notifier is None:
                self._failed += 1
            else:
                self._publish(notifier, notification)
            self._is_busy = False

    def _publish(self, notifier, notification) -> None:
        kind, payload = notification
        try:
            getattr(notifier, kind.priority)({}, kind.event_type, payload)
        except Exception:
            self._failed += 1
            LOG.exception('notifications: %s was not sent', kind.name)
        else:
            self._sent += 1


def make_notifier(settings, name: str):
    """A notifier of oslo.messaging; connects to nothing yet."""
    from oslo_config import cfg
    from oslo_service import backend
    # Said first, or it takes eventlet for its default.
    backend.init_backend(backend.BackendType.THREADING)
    import oslo_messaging
    conf = cfg.ConfigOpts()
    conf(args=[], project='sheepdog', default_config_files=settings.files,
         default_config_dirs=[])
    transport = oslo_messaging.get_notification_transport(
        conf, url=settings.transport_url or 'fake:')
    group = 'oslo_messaging_notifications'
    conf.set_override('driver', list(settings.drivers), group)
    conf.set_override('topics', list(settings.topics), group)
    return oslo_messaging.Notifier(transport, publisher_id=name,
                                   retry=RETRIES)
