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

"""What a sheep tells its operators by itself: metrics.

Made only where it is configured; what it needs is imported here and then,
so that a sheep without it pays nothing.
"""


class Monitoring:
    """:param sheep: ``wiring.Sheep``, its rooms built"""

    def __init__(self, sheep):
        self._sheep = sheep
        self.collector = None
        """What the metrics are read with, or None."""
        self.metrics = None
        """The ``MetricsFace``, or None."""

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
