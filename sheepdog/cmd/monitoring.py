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

"""What a sheep tells its operators by itself: metrics, notifications.

Made only where it is configured; what it needs is imported here and then,
so that a sheep without it pays nothing.
"""

import logging

from sheepdog.cluster import api

LOG = logging.getLogger(__name__)


class _Harmless:
    """Calls another, whose mistakes are logged and go no further: a sheep
    does not die of its notifications. (In the simulator it does.)"""

    def __init__(self, other):
        self._other = other

    def __getattr__(self, name):
        function = getattr(self._other, name)

        def call(*arguments):
            try:
                function(*arguments)
            except Exception:
                LOG.exception('notifications: %s failed', name)

        return call


class Monitoring:
    """:param sheep: ``wiring.Sheep``, its rooms built
    :param sink: takes notifications (``faces.notifications.events``); None:
        what the settings say
    """

    def __init__(self, sheep, sink=None):
        self._sheep = sheep
        self._publisher = None
        self.sink = sink
        """Where notifications go, or None."""
        self.collector = None
        """What the metrics are read with, or None."""
        self.metrics = None
        """The ``MetricsFace``, or None."""
        if sink is None and sheep.settings.notifications is not None:
            self._make_publisher()

    def _make_publisher(self):
        from sheepdog.cmd import publisher
        settings = self._sheep.settings
        self.sink = self._publisher = publisher.Publisher(
            settings.notifications, 'sheepdog.%s:%d' % (
                settings.advertised_host, settings.port))

    def listen(self, info: api.MemberInfo):
        """Hear of what is notified, from before the cluster starts.

        :param info: what this sheep tells of itself
        """
        if self.sink is None:
            return
        from sheepdog.faces.notifications import herald
        sheep = self._sheep
        listener = herald.Herald(sheep.world, sheep.cluster, info, self.sink)
        if self._publisher is not None:
            listener = _Harmless(listener)
        sheep.cluster.add_listener(listener)
        sheep.recovery.watcher = listener
        sheep.scrub.watcher = listener
        if self._publisher is not None:
            self._publisher.start()

    async def start(self):
        """:raises OSError: the address for metrics is in use"""
        if self._sheep.settings.metrics is not None:
            await self._serve_metrics()

    async def _serve_metrics(self):
        from sheepdog.faces.metrics import collector
        from sheepdog.faces.metrics import server
        world = self._sheep.world
        self.collector = collector.Collector(world, self._sheep)
        self.collector.start()
        page = collector.Page(self.collector)
        self.metrics = server.MetricsFace(
            world, self._sheep.settings.metrics, page.text,
            collector.CONTENT_TYPE)
        await self.metrics.start()

    async def stop(self):
        if self.metrics is not None:
            await self.metrics.stop()
        if self.collector is not None:
            self.collector.stop()

    async def stop_notifying(self):
        """At the very end: leaving, too, may be news."""
        if self._publisher is not None:
            await self._publisher.stop()
