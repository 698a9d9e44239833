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

import re
from xml.etree import ElementTree

import hypothesis
from hypothesis import strategies

from sheepdog.cmd.dog import graph
from sheepdog.tests.unit.cmd.dog import test_branches
from sheepdog.tests.unit.cmd.dog import test_dog

SVG = '{http://www.w3.org/2000/svg}'
NASTY = 'a"b\\c\nd\r<e>&\\N\x01\'];'


def vdi(vdi_id, name, parent=0, snap_id=0, tag=''):
    return dict(test_branches.vdi(vdi_id, name, parent, snap_id), tag=tag,
                size=20 << 20, created=test_branches.vdi(
                    1, 'x', snap_id=13)['snapped'])


TREE = [vdi(1, 'test', 0, 13, 's1'), vdi(2, 'test', 1), vdi(9, 'cl', 1)]


def strings(text):
    """What stands in quotes, read as Graphviz does."""
    found = re.findall(r'"((?:[^"\\]|\\.)*)"', text, re.DOTALL)
    rest = re.sub(r'"(?:[^"\\]|\\.)*"', '""', text, flags=re.DOTALL)
    return found, rest


class DotTest(test_dog.DogCase):
    def test_a_tree(self):
        self.assertEqual('''\
digraph G {
  node [shape = "box", fontname = "Courier"];

  "0" [shape = "ellipse", label = "root"];

  "0" -> "1";
  "1" [
    group = "test",
    label = "Name: test\\nTag:  s1\\nSize: 20 MB\\nDate: 2026-11-22 08:13"
  ];

  "1" -> "2";
  "2" [
    group = "test",
    label = "Name: test\\nSize: 20 MB\\nDate: 2026-11-22 08:13",
    color = "red"
  ];
}
''', '\n'.join(graph.dot(TREE[:2])) + '\n')

    def test_whose_parent_is_not_shown(self):
        self.assertIn('  "0" -> "9";', list(graph.dot(TREE[2:])))

    @hypothesis.given(strategies.text(max_size=20)
                      | strategies.just(NASTY))
    def test_no_name_ends_its_string(self, name):
        plain = '\n'.join(graph.dot([vdi(1, 'x', 0, 1, 'y')]))
        nasty = '\n'.join(graph.dot([vdi(1, name, 0, 1, name)]))
        self.assertEqual(strings(plain)[1], strings(nasty)[1])
        group = strings(nasty)[0][-2]
        self.assertNotIn('\n', group)
        self.assertEqual(
            name.replace('\n', '\\n').replace('\r', '\\r'),
            re.sub(r'\\(["\\])', r'\1', group))

    def test_said(self):
        self.cluster.answers['vdi.list'] = TREE
        self.assertTrue(self.dog('vdi graph').startswith('digraph G {\n'))
        self.assertTrue(self.dog('vdi graph test --svg').startswith('<svg '))
        self.assertTrue(self.dog('vdi graph --json').startswith('['))
        self.dog('vdi graph test more', code=64)
        self.cluster.answers['vdi.list'] = []
        self.dog('vdi graph none', code=5)


class SvgTest(test_dog.DogCase):
    def boxes(self, vdis):
        root = ElementTree.fromstring('\n'.join(graph.svg(vdis)))
        boxes = [tuple(float(box.get(name)) for name in 'xy')
                 for box in root.findall(SVG + 'rect')]
        for x, y in boxes:
            self.assertTrue(0 < x <= float(root.get('width')) - graph.WIDTH)
            self.assertTrue(0 < y <= float(root.get('height'))
                            - graph.HEIGHT)
        self.assertEqual(len(vdis), len(set(boxes)))
        return boxes, root

    def test_a_tree(self):
        (top, one, other), root = self.boxes(TREE)
        self.assertEqual(one[1], other[1])
        self.assertLess(top[1], one[1])
        self.assertEqual((one[0] + other[0]) / 2, top[0])
        self.assertEqual(2, len(root.findall(SVG + 'path')))
        self.assertEqual('Tag: s1', root.findall('.//' + SVG + 'text')[1]
                         .text)

    def test_nothing(self):
        self.boxes([])

    def test_any_name(self):
        _, root = self.boxes([vdi(1, NASTY), vdi(2, '\udcff' * 200)])
        self.assertEqual('Name: a"b\\c�d�<e>&\\N�\'];',
                         root.findall('.//' + SVG + 'text')[0].text)

    def test_a_long_chain_and_a_wide_one(self):
        boxes, _ = self.boxes([vdi(n, 'v', n - 1, n % 60 + 1)
                               for n in range(1, 1001)])
        self.assertEqual(1, len({x for x, _ in boxes}))
        boxes, _ = self.boxes([vdi(1, 'v', 0, 1)] + [
            vdi(n, 'c%d' % n, 1) for n in range(2, 502)])
        self.assertEqual(2, len({y for _, y in boxes}))
