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

"""Reads the rooms when Prometheus asks."""

import gc
import logging

from prometheus_client import core
from prometheus_client import exposition
from prometheus_client import process_collector
from prometheus_client import registry as registry_module

from sheepdog.faces.metrics import families
from sheepdog.faces.metrics import family as family_module
from sheepdog.faces.metrics import histogram
from sheepdog.faces.metrics import latency
from sheepdog.model import errors
from sheepdog.world import api

LOG = logging.getLogger(__name__)

CONTENT_TYPE = exposition.CONTENT_TYPE_LATEST
SPACE_SECONDS = 60.0
"""How old the number of used bytes may be: it costs a look at each file."""

GENERATION_MAX = 2
PAUSES_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                  1.0)
RECORDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

_KINDS = {family_module.GAUGE: core.GaugeMetricFamily,
          family_module.COUNTER: core.CounterMetricFamily,
          family_module.HISTOGRAM: core.HistogramMetricFamily}


class Kept:
    """What no other room counts. Also a ``ClusterListener``."""

    def __init__(self, world: api.World, waits):
        self.latencies = latency.Latencies(world, waits)
        self.sync_seconds = histogram.Histogram(latency.BOUNDS_SECONDS)
        self.sync_records = histogram.Histogram(RECORDS)
        self.pauses = histogram.Histogram(PAUSES_SECONDS)
        self.lapses = 0
        self.scrapes = 0
        self.last_scrape_seconds = 0.0
        self.used_bytes = None
        self._monotonic = world.clock.monotonic
        self._pause_began = 0.0

    def synced(self, seconds: float, records: int) -> None:
        """The journal was; see ``store.Store.watch_syncs``."""
        self.sync_seconds.observe(seconds)
        self.sync_records.observe(records)

    def collected(self, phase: str, info: dict) -> None:
        """See ``gc.callbacks``. The younger generations are too quick, and
        too often, to be of interest."""
        if info['generation'] < GENERATION_MAX:
            return
        if phase == 'start':
            self._pause_began = self._monotonic()
        elif self._pause_began:
            self.pauses.observe(self._monotonic() - self._pause_began)

    def on_freeze(self):
        pass

    def on_view(self, old, new, cold):
        pass

    def on_event(self, event):
        pass

    def on_lapse(self):
        self.lapses += 1

    def on_shutdown(self):
        pass


class Collector:
    """What ``prometheus_client`` asks; see its ``registry.Collector``.

    :param sheep: the whole (see ``cmd.wiring``), its rooms built
    """

    def __init__(self, world: api.World, sheep):
        self.kept = Kept(world, sheep.waits)
        self._world = world
        self._sheep = sheep
        self._failed = set()
        self._looked = None
        self._looking = None

    def start(self) -> None:
        self.kept.latencies.start()
        self._sheep.store.watch_syncs(self.kept.synced)
        self._sheep.cluster.add_listener(self.kept)
        gc.callbacks.append(self.kept.collected)
        self._look_at_space()

    def stop(self) -> None:
        self.kept.latencies.stop()
        if self.kept.collected in gc.callbacks:
            gc.callbacks.remove(self.kept.collected)
        if self._looking is not None:
            self._looking.cancel()

    def describe(self):
        """Nothing is read when it is registered."""
        return []

    def collect(self):
        """Yield all families, as they are now."""
        clock = self._world.clock
        began = clock.monotonic()
        self.kept.scrapes += 1
        self._look_at_space()
        look = family_module.Look(self._sheep, self.kept)
        for family in families.FAMILIES:
            try:
                value = family.read(look)
            except Exception:
                # One that cannot be read must not cost all the others.
                if family.name not in self._failed:
                    self._failed.add(family.name)
                    LOG.exception('%s cannot be read', family.name)
                continue
            if value is not None:
                yield _metric(family, value)
        self.kept.last_scrape_seconds = clock.monotonic() - began

    def _look_at_space(self) -> None:
        now = self._world.clock.monotonic()
        if self._looked is None or now - self._looked > SPACE_SECONDS:
            self._looked = now
            self._looking = self._world.spawn(self._count_space(),
                                              'metrics: space')

    async def _count_space(self) -> None:
        try:
            self.kept.used_bytes = await self._sheep.store.used_bytes()
        except (OSError, errors.SheepdogError) as error:
            LOG.warning('used space: %s', error)


def _metric(family, value):
    labels = [family.label] if family.label else []
    metric = _KINDS[family.kind](family.name, family.text, labels=labels)
    values = value if labels else {'': value}
    for name, number in values.items():
        shown = [str(name)] if labels else []
        if family.kind == family_module.HISTOGRAM:
            metric.add_metric(shown, number.buckets(), number.sum)
        else:
            metric.add_metric(shown, number)
    return metric


class Page:
    """All metrics as text.

    :param has_process: with those of the process, which read ``/proc``
    """

    def __init__(self, collector: Collector, has_process: bool = True):
        self._registry = registry_module.CollectorRegistry(
            auto_describe=False)
        self._registry.register(collector)
        if has_process:
            process_collector.ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        return exposition.generate_latest(self._registry)
