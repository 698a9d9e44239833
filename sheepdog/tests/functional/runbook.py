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

"""Does what a page of the runbook says, on a real cluster.

A page's ``console`` blocks are run from the first to the last line. A line
that begins with ``$ `` or ``node2$ `` is a command (on that node; node1
where none is named); what follows it, up to the next one, is what it must
print, ``...`` standing for anything. A command that only looks is run again
until it does. ``status --why`` and ``safe-to-stop`` may end as they like,
all others must succeed.

Names are those of the page: node1:7000, /var/lib/sheepdog, /srv/disk1,
/etc/sheepdog/sheepdog.conf. ``systemctl`` is played here, with the sheep of
the test; ``dog`` and ``sheepdog-manage`` are the real ones.
"""

import os
import pathlib
import re
import shlex
import typing

from sheepdog.tests.functional import harness

PAGES = pathlib.Path(__file__).parents[3] / 'doc' / 'source' / 'runbook'
STORE = '/var/lib/sheepdog'
DISKS = '/srv/'
CONFIGURATION = '/etc/sheepdog/sheepdog.conf'
SECONDS = 180.0

_COMMAND = re.compile(r'(?:node(?P<node>\d))?\$ (?P<words>.*)')
_LOOKING = ('sheepdog-manage status', 'sheepdog-manage safe-to-stop',
            'sheepdog-manage lock list', 'sheepdog-manage node',
            'dog node list', 'dog node info', 'dog node recovery',
            'dog node md info',
            'dog cluster info', 'dog vdi list')
_JUDGING = _LOOKING[:2]
_PRELUDE = (
    'dog() { command dog "$@" -a %(host)s -p %(port)d; }\n'
    'sheepdog-manage() { command sheepdog-manage -a %(address)s "$@"; }\n')


class Step(typing.NamedTuple):
    node: int
    words: str
    expected: str


def steps(name) -> list:
    """Of a page."""
    found = []
    text = (PAGES / (name + '.rst')).read_text()
    for block in re.findall(r'^\.\. code-block:: console\n\n((?:   .*\n|\n)+)',
                            text, re.M):
        for line in block.splitlines():
            match = _COMMAND.fullmatch(line[3:])
            if match:
                found.append([int(match['node'] or 1), match['words'], []])
            elif line.strip():
                found[-1][2].append(line[3:])
    return [Step(node, words, '\n'.join(lines))
            for node, words, lines in found]


def is_as(expected, text) -> bool:
    """``...`` is anything; how much white space does not count."""
    pattern = '.*'.join(re.escape(' '.join(part.split()))
                        for part in expected.split('...'))
    # Around dots there may or may not be a space left.
    return re.fullmatch(pattern.replace(r'\ .*', '.*').replace(
        r'.*\ ', '.*'), ' '.join(text.split()), re.S) is not None


class Runner:
    """:param nodes: the sheep that are node1, node2, …
    :param services: other services than sheep, by name: a function that is
        called with the verb
    :param configuration: the path that stands for CONFIGURATION
    """

    def __init__(self, nodes, services=None, configuration=''):
        self.nodes = list(nodes)
        self.services = services or {}
        self.configuration = configuration

    def run(self, name) -> None:
        """
        :raises HarnessError: a page does not say the truth
        """
        for step in steps(name):
            self._step(step)

    def _step(self, step):
        if step.words.startswith('systemctl '):
            self._systemctl(step)
            return
        if not step.expected or not step.words.startswith(_LOOKING):
            self._check(step, self._command(step))
            return
        last = []

        def has_come():
            last[:] = [self._command(step)]
            return is_as(step.expected, last[0])

        harness.wait_until(
            has_come, SECONDS, lambda: 'node%d$ %s\n%s\nto print\n%s' % (
                step.node, step.words, last[0], step.expected))

    def _check(self, step, text):
        if step.expected and not is_as(step.expected, text):
            raise harness.HarnessError(
                'node%d$ %s\n%s\nshould have printed\n%s' % (
                    step.node, step.words, text, step.expected))

    def _command(self, step) -> str:
        sheep = self.nodes[step.node - 1]
        prelude = _PRELUDE % {'host': harness.HOST, 'port': sheep.port,
                              'address': sheep.address}
        path = '%s:%s' % (harness.BIN, os.environ['PATH'])
        done = harness.run(
            'bash', '-c', prelude + self._to_here(step.words, sheep),
            expect=None if step.words.startswith(_JUDGING) else 0,
            env=dict(os.environ, PATH=path, COLUMNS='1000',
                     SHEEPDOG_KEY_FILE=str(sheep.key_file)))
        return self._from_here(done.stdout + done.stderr)

    def _to_here(self, text, sheep):
        for number, one in enumerate(self.nodes, 1):
            text = re.sub(r'\bnode%d(:7000)?\b' % number, one.address, text)
        return text.replace(STORE, str(sheep.meta)).replace(
            CONFIGURATION, str(self.configuration)).replace(
                DISKS, '%s-' % sheep.meta)

    def _from_here(self, text):
        for number, one in enumerate(self.nodes, 1):
            text = text.replace(one.address, 'node%d:7000' % number)
        return text

    def _systemctl(self, step):
        sheep = self.nodes[step.node - 1]
        words = shlex.split(step.words)[1:]
        verb, service = words[0], words[-1]
        if service != 'sheep':
            self.services[service](verb)
        elif verb == 'kill':
            assert words[1] == '--signal=CONT', words
            sheep.resume()
        else:
            if verb == 'restart' and sheep.is_running:
                # systemd does the same with one that does not stop.
                sheep.kill()
            elif verb == 'stop':
                sheep.terminate()
            if verb in ('start', 'restart'):
                sheep.start()
                sheep.wait_answering()
