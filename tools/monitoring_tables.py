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

"""The tables of doc/source/monitoring.rst, from what the code declares.

``python -m tools.monitoring_tables`` writes them; a test says when that is
due.
"""

import pathlib
import textwrap

from sheepdog.faces.metrics import families
from sheepdog.faces.notifications import events

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCE = ROOT / 'doc/source'
NOTE = ('.. Made by ``python -m tools.monitoring_tables``: change what the '
        'code declares.\n\n')
WIDTH = 79


def _table(head, rows) -> str:
    lines = ['.. list-table::', '   :header-rows: 1', '']
    for row in (head,) + tuple(rows):
        for number, cell in enumerate(row):
            lines += textwrap.wrap(
                cell, WIDTH, break_long_words=False, break_on_hyphens=False,
                initial_indent='   * - ' if not number else '     - ',
                subsequent_indent=' ' * 7) or ['     -']
    return NOTE + '\n'.join(lines) + '\n'


def metrics() -> str:
    rows = [('``%s``' % one.name, one.kind,
             '``%s``' % one.label if one.label else '', one.text)
            for one in families.FAMILIES]
    rows += [('``%s``' % name,
              'counter' if name.endswith('_total') else 'gauge', '', text)
             for name, text in families.FOREIGN.items()]
    return _table(('Metric', 'Type', 'Label', 'Meaning'), rows)


def notifications() -> str:
    rows = []
    for kind in events.KINDS.values():
        fields = '; '.join('``%s``: %s' % item
                           for item in kind.fields.items())
        rows.append(('``%s``' % kind.event_type, kind.priority.upper(),
                     'itself' if kind.is_own else 'one for all', kind.text,
                     fields))
    return _table(('Event type', 'Priority', 'Sent by', 'Meaning', 'Payload'),
                  rows)


def common_fields() -> str:
    return _table(('Field', 'Meaning'),
                  [('``%s``' % name, text)
                   for name, text in events.COMMON.items()])


FILES = {'metrics.inc': metrics, 'notifications.inc': notifications,
         'notification-fields.inc': common_fields}


def main():
    for name, make in FILES.items():
        (SOURCE / name).write_text(make())


if __name__ == '__main__':
    main()
