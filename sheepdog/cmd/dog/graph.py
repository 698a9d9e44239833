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

"""dog vdi graph: how VDIs and snapshots come from each other, for Graphviz;
or drawn at once, as an SVG image."""

import html
import time

from sheepdog.cmd.dog import command
from sheepdog.cmd.options import Option
from sheepdog.model import errors
from sheepdog.model import sizes

WIDTH, HEIGHT = 190, 76
"""Of a box; and what is between two of them."""
GAP_X, GAP_Y = 20, 40
LINE = 16
SHOWN_MAX = 18
"""Characters of a name that fit into a box."""

NOT_XML = {code: '\N{REPLACEMENT CHARACTER}' for code in (
    *range(32), 0xFFFE, 0xFFFF, *range(0xD800, 0xE000))}


def graph(session):
    name = session.argument(0, '')
    vdis = session.client.vdis.list(name)
    if name and not vdis:
        raise errors.NoVdi("there is no VDI '%s'" % name)
    session.show(vdis, svg(vdis) if session.values.get('svg')
                 else dot(vdis))


def _parents(vdis) -> dict:
    """VDI id → that of which it came, 0 where that is not shown."""
    known = {vdi['vdi_id'] for vdi in vdis}
    return {vdi['vdi_id']: vdi['parent'] if vdi['parent'] in known else 0
            for vdi in vdis}


def _rows(vdi) -> list:
    """(what, its text)"""
    when = time.localtime(vdi['snapped'] if vdi['snapshot']
                          else vdi['created'])
    rows = [('Name', vdi['name'])]
    if vdi['snapshot']:
        rows.append(('Tag', vdi['tag'] or str(vdi['snap_id'])))
    return [*rows, ('Size', sizes.show_size(vdi['size'])),
            ('Date', time.strftime('%Y-%m-%d %H:%M', when))]


def dot(vdis):
    """Lines, with a node's name and fields as the original has them."""
    yield 'digraph G {'
    yield '  node [shape = "box", fontname = "Courier"];'
    yield ''
    yield '  "0" [shape = "ellipse", label = "root"];'
    parents = _parents(vdis)
    for vdi in vdis:
        label = '\\n'.join('%-5s %s' % (what + ':', _quoted(text))
                           for what, text in _rows(vdi))
        yield ''
        yield '  "%x" -> "%x";' % (parents[vdi['vdi_id']], vdi['vdi_id'])
        yield '  "%x" [' % vdi['vdi_id']
        yield '    group = "%s",' % _quoted(vdi['name'])
        yield '    label = "%s"%s' % (label, '' if vdi['snapshot']
                                      else ',\n    color = "red"')
        yield '  ];'
    yield '}'


def _quoted(text) -> str:
    """What stands between the quotes of a string of the language: so nothing
    of a name ends it, or is an escape sequence. (A label shows '\\l' as the
    end of a line.)"""
    return text.replace('\\', '\\\\').replace('"', '\\"').replace(
        '\n', '\\\\n').replace('\r', '\\\\r')


def svg(vdis):
    """Lines. A box for each, below the one it came from."""
    parents = _parents(vdis)
    places, columns, rows = _placed(vdis, parents)
    yield ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" '
           'font-family="monospace" font-size="12">' % (
               columns * (WIDTH + GAP_X) + GAP_X,
               rows * (HEIGHT + GAP_Y) + GAP_X))
    for vdi in vdis:
        x, y = places[vdi['vdi_id']]
        above = places.get(parents[vdi['vdi_id']])
        if above is not None:
            yield ('  <path d="M %g %g L %g %g" stroke="#777" fill="none"/>'
                   % (above[0] + WIDTH / 2, above[1] + HEIGHT,
                      x + WIDTH / 2, y))
        yield ('  <rect x="%g" y="%g" width="%d" height="%d" rx="6" '
               'fill="%s" stroke="%s"/>' % (
                   x, y, WIDTH, HEIGHT,
                   '#eef' if vdi['snapshot'] else '#fff',
                   '#557' if vdi['snapshot'] else '#c00'))
        yield '  <g><title>%s</title>' % _escaped(', '.join(
            '%s: %s' % row for row in _rows(vdi)))
        for number, (what, text) in enumerate(_rows(vdi)):
            yield '    <text x="%g" y="%g">%s</text>' % (
                x + 8, y + 6 + LINE * (number + 0.75),
                _escaped('%s: %s' % (what, _short(text))))
        yield '  </g>'
    yield '</svg>'


def _short(text) -> str:
    return text if len(text) <= SHOWN_MAX else text[:SHOWN_MAX - 1] + '…'


def _escaped(text) -> str:
    return html.escape(text.translate(NOT_XML), quote=False)


def _placed(vdis, parents) -> tuple:
    """→ (VDI id → (x, y) of its box, columns, rows). Who has nobody below
    takes the next column; the others stand in the middle above theirs.
    (Without recursion: chains may be long.)"""
    children: dict = {}
    for vdi in sorted(vdis, key=lambda vdi: (
            vdi['name'], not vdi['snapshot'], vdi['snap_id'],
            vdi['vdi_id'])):
        children.setdefault(parents[vdi['vdi_id']], []).append(
            vdi['vdi_id'])
    depths: dict = {}
    order = []
    todo = [(vdi_id, 0) for vdi_id in reversed(children.get(0, ()))]
    while todo:
        vdi_id, depth = todo.pop()
        depths[vdi_id] = depth
        order.append(vdi_id)
        todo += [(one, depth + 1)
                 for one in reversed(children.get(vdi_id, ()))]
    columns: dict = {}
    count = 0
    for vdi_id in order:
        if vdi_id not in children:
            columns[vdi_id] = float(count)
            count += 1
    for vdi_id in reversed(order):
        if vdi_id in children:
            below = [columns[one] for one in children[vdi_id]]
            columns[vdi_id] = (below[0] + below[-1]) / 2
    return {vdi_id: (GAP_X + columns[vdi_id] * (WIDTH + GAP_X),
                     GAP_X + depths[vdi_id] * (HEIGHT + GAP_Y))
            for vdi_id in order}, count, max(depths.values(), default=-1) + 1


COMMANDS = (
    command.Command(
        ('vdi', 'graph'), graph,
        'show for Graphviz how VDIs and snapshots come from each other',
        '[NAME]', (0, 1),
        (Option('', 'svg', 'draw it: an image for a browser'),)),
)
