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


"""Scenarios as text: what happens to a cluster, and what is then seen.

    three sheep a b c, 3 copies
    format
    when a sends commit: kill a
    kill c
    expect epoch 2: b c

``run`` plays one on virtual time and returns the text once more, as it
went: every line that did not come true says what was there instead. How to
write one is described in ``doc/source/plays.rst``. To see one with its log:

    python -m sheepdog.testing.play sheepdog/tests/sim/plays/X.play
"""

import argparse
import dataclasses
import difflib
import fnmatch
import logging
import pkgutil
import re
import sys
from typing import Callable
import warnings

from sheepdog.testing import cluster as cluster_module
from sheepdog.testing import loop as loop_module
from sheepdog.testing import play_actors
from sheepdog.testing import play_cues
from sheepdog.testing import play_stage

BUILD = 'sheepdog.cmd.wiring:build_sheep'
LIMIT_SECONDS = 60.0
"""Virtual; what is expected comes true within this."""
SEEN_MAX = 12
"""Lines of the log that are shown where another one was expected."""

NUMBERS = ('no', 'one', 'two', 'three', 'four', 'five', 'six', 'seven')


class WrongPlay(Exception):
    """It cannot be played: the text is wrong."""


class Differs(Exception):
    """What came instead of a line."""


@dataclasses.dataclass
class Outcome:
    """``went`` is ``text`` when all went as written."""

    text: str
    went: str
    log: str

    @property
    def has_failed(self) -> bool:
        return self.text != self.went

    def diff(self) -> str:
        return '\n'.join(difflib.unified_diff(
            self.text.splitlines(), self.went.splitlines(),
            'as written', 'as it went', lineterm='', n=4))


def run(text: str, build: Callable, seed: int = 1) -> Outcome:
    """
    :raises WrongPlay: it cannot be played
    """
    with warnings.catch_warnings():
        # Coroutines of the dead.
        warnings.filterwarnings('ignore', '.* was never awaited')
        player = _Player(text, build, seed)
        try:
            return player.run()
        finally:
            player.close()


class _Player:
    def __init__(self, text: str, build: Callable, seed: int):
        self._lines = text.splitlines()
        self._text = text
        self._build = build
        self._seed = seed
        self._stage = None
        self._seen = 0
        self._nevers = []

    def close(self) -> None:
        if self._stage is not None:
            self._stage.close()

    def run(self) -> Outcome:
        went = list(self._lines)
        for number, line in enumerate(self._lines):
            text = line.partition('#')[0].strip()
            if not text:
                continue
            try:
                self._perform(text)
            except WrongPlay as error:
                raise WrongPlay('line %d: %s' % (number + 1,
                                                 error)) from None
            except (Differs, cluster_module.NotWell,
                    loop_module.Stuck) as error:
                went[number:number + 1] = str(error).splitlines()
                break
        if self._stage is None:
            raise WrongPlay('nobody is on the stage')
        went += self._wrong()
        return Outcome('\n'.join(self._lines), '\n'.join(went), '\n'.join(
            '%9.3f  %s' % entry for entry in self._stage.log))

    def _wrong(self) -> list:
        wrong = [line for line in self._stage.wrong()]
        for pattern, since in self._nevers:
            wrong += ['it happened: %s' % line for _, line
                      in self._stage.log[since:]
                      if fnmatch.fnmatchcase(line, pattern)]
        return wrong

    # Commands.

    def _perform(self, text: str) -> None:
        if self._stage is None:
            self._stage = play_stage.Stage(_settings(text, self._seed),
                                           self._build)
            return
        self._stage.say('> ' + text)
        self.command(text)()
        self._stage.look()

    def command(self, text: str) -> Callable[[], None]:
        """What a line stands for.

        :raises WrongPlay: nothing
        """
        for pattern, function in _COMMANDS:
            match = pattern.fullmatch(text)
            if match:
                try:
                    return function(self, *match.groups())
                except KeyError as error:
                    raise WrongPlay('who is %s? (%s)' % (error, text)
                                    ) from None
        raise WrongPlay('what is %r?' % text)

    def _names(self, text: str) -> list:
        """:raises KeyError: nobody is called so"""
        if text == 'all':
            return list(self._stage.nodes)
        names = text.split()
        for name in names:
            self._stage.nodes[name]
        return names

    def _many(method: str):
        def command(self, names):
            names = self._names(names)
            return lambda: getattr(self._stage, method)(names)
        return command

    def _format(self, names):
        names = self._names(names or 'all')
        return lambda: self._stage.format(names)

    def _wait(self, seconds):
        return lambda: self._stage.wait(float(seconds))

    def _cut(self, verb, sources, arrow, targets):
        sources, targets = self._names(sources), self._names(targets)
        return lambda: self._stage.cut(sources, targets, arrow == '-',
                                       verb == 'cut')

    def _slow(self, source, target, seconds):
        self._names('%s %s' % (source, target))
        return lambda: self._stage.slow(source, target, float(seconds))

    def _fill(self, name, mebibytes):
        return lambda: self._stage.fill(self._names(name)[0],
                                        float(mebibytes or 0))

    def _empty(self, name):
        return lambda: self._stage.nodes[name].host.image.unfill()

    def _replace(self, name):
        return self._stage.nodes[name].replace_disk

    def _cut_coordination(self, verb, names):
        names = self._names(names)
        return lambda: self._stage.cut_coordination(names, verb == 'cut')

    def _mend_all(self):
        return self._stage.simulation.heal

    def _forget_all(self):
        return self._stage.simulation.coordination.forget

    def _when(self, source, how, kinds, target, rest):
        self._names(source + ' ' + (target or ''))
        kinds = tuple(kinds.split(' or '))
        if not play_cues.KINDS.issuperset(kinds):
            raise WrongPlay('messages are called %s, not %s' % (
                ', '.join(sorted(play_cues.KINDS)), ' or '.join(kinds)))
        act = self.command(rest)
        cue = play_cues.Cue(source, how == 'answers', kinds, target or '',
                            act)
        return lambda: self._stage.cues.waiting.append(cue)

    def _no_more_cues(self):
        return self._stage.no_more_cues

    def _at_step(self, what, name, step):
        self._names(name)
        return lambda: self._stage.end_at_step(name, int(step),
                                               what == 'power off')

    def _ask(self, who, request):
        self._names(who)
        if not play_actors.Actors.is_known(
                re.sub(' again$', '', request)):
            raise WrongPlay('nobody can be asked to %r' % request)
        return lambda: self._stage.actors.ask(who, request)

    # What is seen.

    def _expect(self, how, seconds, expected):
        look = self._observer(expected.partition(' or ')[0])
        if how == 'for ':
            return lambda: self._stays(look, expected, float(seconds))
        limit = float(seconds) if how == 'within ' else (
            0.0 if how == 'now ' else LIMIT_SECONDS)
        return lambda: self._comes(look, expected, how, limit)

    def _comes(self, look, expected: str, how: str, limit: float) -> None:
        wanted = _alternatives(expected)
        if not self._stage.run_until(lambda: look() in wanted, limit):
            raise Differs('expect %s' % look())

    def _stays(self, look, expected: str, seconds: float) -> None:
        wanted = _alternatives(expected)
        if self._stage.run_until(lambda: look() not in wanted, seconds):
            raise Differs('expect %s' % look())

    def _observer(self, text: str) -> Callable[[], str]:
        stage = self._stage
        for pattern, observe in _OBSERVERS:
            match = pattern.fullmatch(text)
            if match:
                return observe(self, stage, *match.groups())
        raise WrongPlay('what is there to see of %r?' % text)

    def _statuses(self, stage, names, _):
        names = self._names(names)

        def look():
            statuses = [stage.status(name) for name in names]
            if len(set(statuses)) == 1:
                return '%s: %s' % (' '.join(names), statuses[0])
            return '; '.join(map('%s: %s'.__mod__, zip(names, statuses)))
        return look

    def _see(self, expected):
        return lambda: self._wait_for_line(expected)

    def _wait_for_line(self, expected: str) -> None:
        log = self._stage.log
        first = self._seen

        def is_seen():
            while self._seen < len(log):
                self._seen += 1
                if fnmatch.fnmatchcase(log[self._seen - 1][1], expected):
                    return True
            return False

        if not self._stage.run_until(is_seen, LIMIT_SECONDS):
            raise Differs('\n'.join(
                'see ' + line for _, line in [
                    entry for entry in log[first:]
                    if not entry[1].startswith('>')][:SEEN_MAX])
                or 'see nothing')

    def _never(self, pattern):
        return lambda: self._nevers.append((pattern, len(self._stage.log)))


def _alternatives(expected: str) -> tuple:
    """``b: read v: 1 or 2`` is either."""
    first, *others = expected.split(' or ')
    what = first.rpartition(': ' if 'refused' not in first else ': refused')[0]
    return (first, *(what + ': ' + other for other in others))


def _settings(text: str, seed: int) -> play_stage.StageSettings:
    match = re.fullmatch(
        r'(\w+) sheep((?: \w+)+)(?:, (\d) cop(?:y|ies))?(, strict)?'
        r'(, avoiding full disks)?'
        r'(, noticed at once)?(?:, a checkpoint each ([0-9.]+) s)?'
        r'(?:, recovery rests (\d+) s)?', text)
    if match is None:
        raise WrongPlay('a play begins with "three sheep a b c, 3 copies", '
                        'not with %r' % text)
    (number, names, copies, is_strict, avoids_full, is_embedded,
     checkpoint, rest) = match.groups()
    names = tuple(names.split())
    if number not in NUMBERS or NUMBERS.index(number) != len(names):
        raise WrongPlay('these are not %s: %s' % (number, ' '.join(names)))
    return play_stage.StageSettings(
        names, int(copies or min(3, len(names))), bool(is_embedded), seed,
        float(checkpoint or play_stage.CHECKPOINT_SECONDS), bool(is_strict),
        int(rest or 0), bool(avoids_full))


_NAMES = r'(\w+(?: \w+)*)'


def _table(*rows) -> list:
    return [(re.compile(pattern), function) for pattern, function in rows]


_COMMANDS = _table(
    ('format(?: %s)?' % _NAMES, _Player._format),
    ('start %s one by one' % _NAMES, _Player._many('start_one_by_one')),
    ('wait ([0-9.]+) s', _Player._wait),
    (r'fill the disk of (\w+)(?: but ([0-9.]+) MiB)?', _Player._fill),
    (r'empty the disk of (\w+)', _Player._empty),
    (r'replace the disk of (\w+)', _Player._replace),
    ('mend everything', _Player._mend_all),
    ('coordination forgets everything', _Player._forget_all),
    ('coordination forgets ' + _NAMES, _Player._many('forget')),
    ('start ' + _NAMES, _Player._many('start')),
    (r'(kill|power off) (\w+) at step (\d+)', _Player._at_step),
    ('kill ' + _NAMES, _Player._many('kill')),
    ('power off ' + _NAMES, _Player._many('power_off')),
    ('suspend ' + _NAMES, _Player._many('stop')),
    ('resume ' + _NAMES, _Player._many('resume')),
    ('(cut|mend) %s (-|->) %s' % (_NAMES, _NAMES), _Player._cut),
    (r'slow (\w+) -> (\w+) by ([0-9.]+) s', _Player._slow),
    ('(cut|mend) %s and coordination' % _NAMES, _Player._cut_coordination),
    (r'when (\w+) (sends|answers) ([\w-]+(?: or [\w-]+)*)'
     r'(?: to (\w+))?: (.+)', _Player._when),
    ('no more cues', _Player._no_more_cues),
    ('expect (?:(now |for |within )(?:([0-9.]+) s )?)?(.+)',
     _Player._expect),
    ('see (.+)', _Player._see),
    ('never (.+)', _Player._never),
    (r'(\w+): (.+)', _Player._ask))

_OBSERVERS = _table(
    (r'epoch.*', lambda self, stage: stage.epoch),
    (r'leader .+', lambda self, stage: stage.leader),
    (r'well: .+', lambda self, stage: lambda: 'well: ' + stage.well()),
    (r'volumes: .+', lambda self, stage: stage.volumes),
    (r'copies of (\w+): .+',
     lambda self, stage, name: lambda: stage.copies_of(name)),
    (r'copies are equal', lambda self, stage: stage.copies),
    (r'recovery on (\w+): .+',
     lambda self, stage, name: lambda: stage.recovery_on(name)),
    (r'lock of (\w+): .+',
     lambda self, stage, volume: lambda: stage.lock_of(volume)),
    (r'(\w+) waits for .+',
     lambda self, stage, name: lambda: stage.waits_for(name)),
    (r'(\w+): ([^:]+): ([^:]+|refused: \w+)',
     lambda self, stage, who, request, _: lambda: '%s: %s: %s' % (
         who, request, stage.actors.outcome(who, request))),
    (_NAMES + ': ([^:]+)', _Player._statuses))


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(
        description='Play scenarios and print their logs.')
    parser.add_argument('play', nargs='+')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--build', default=BUILD,
                        help='what makes a sheep (%(default)s)')
    parser.add_argument('--log', default='CRITICAL',
                        help="level of the sheep's own log (%(default)s)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=options.log.upper(),
                        format='%(levelname)s %(name)s %(message)s')
    failed = False
    for path in options.play:
        with open(path) as file:
            outcome = run(file.read(), pkgutil.resolve_name(options.build),
                          options.seed)
        print(outcome.log)
        print('%s: %s' % (path, 'it went otherwise:\n' + outcome.diff()
                          if outcome.has_failed else 'as written'))
        failed = failed or outcome.has_failed
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
