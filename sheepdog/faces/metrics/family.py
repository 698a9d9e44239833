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

"""What describes one metric, and what is at hand to read it from."""

from typing import Any, Callable, NamedTuple

GAUGE = 'gauge'
COUNTER = 'counter'
HISTOGRAM = 'histogram'


class Family(NamedTuple):
    """A metric of all its labels. ``name`` is what Prometheus stores (of a
    histogram: with ``_bucket``, ``_sum`` or ``_count`` behind it).

    ``read(look)`` returns a number or a ``Histogram``, or of a family with
    a label a dictionary of these by the label's value; None where there is
    nothing to tell.
    """

    name: str
    kind: str
    text: str
    label: str
    read: Callable[['Look'], Any]


def gauge(name, text, read, label='') -> Family:
    return Family('sheepdog_' + name, GAUGE, text, label, read)


def counter(name, text, read, label='') -> Family:
    assert name.endswith('_total'), name
    return Family('sheepdog_' + name, COUNTER, text, label, read)


def histogram(name, text, read, label='') -> Family:
    return Family('sheepdog_' + name, HISTOGRAM, text, label, read)


class Look:
    """One look at a sheep: what several families need is worked out once.

    :param sheep: the whole (see ``cmd.wiring``)
    :param kept: ``collector.Kept``, what only this room counts
    """

    def __init__(self, sheep, kept):
        self.sheep = sheep
        self.kept = kept
        self.cluster = sheep.cluster
        self.state = sheep.cluster.state
        self.view = sheep.cluster.view
        self.explained = sheep.cluster.explain()
        self.store = sheep.store.gauges()
        self.counters = sheep.store.counters

    def stored(self, **names) -> dict:
        """The store's counters of these names, by label value."""
        return {value: getattr(self.counters, name)
                for value, name in names.items()}
