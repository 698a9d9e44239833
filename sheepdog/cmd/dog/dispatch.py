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

"""Finds the command that the words name, runs it, and says how it went."""

import os
import sys
import time

from sheepdog.cmd.dog import attributes
from sheepdog.cmd.dog import backup
from sheepdog.cmd.dog import benchmark
from sheepdog.cmd.dog import branches
from sheepdog.cmd.dog import check
from sheepdog.cmd.dog import cluster
from sheepdog.cmd.dog import command
from sheepdog.cmd.dog import graph
from sheepdog.cmd.dog import keeping
from sheepdog.cmd.dog import node
from sheepdog.cmd.dog import objects
from sheepdog.cmd.dog import qos
from sheepdog.cmd.dog import recovery
from sheepdog.cmd.dog import top
from sheepdog.cmd.dog import unbuilt
from sheepdog.cmd.dog import upgrade
from sheepdog.cmd.dog import vdi
from sheepdog.cmd import exits
from sheepdog.cmd import options
from sheepdog.cmd import version
from sheepdog.model import errors

COMMANDS = (cluster.COMMANDS + node.COMMANDS + recovery.COMMANDS
            + vdi.COMMANDS + branches.COMMANDS + objects.COMMANDS
            + attributes.COMMANDS + backup.COMMANDS + check.COMMANDS
            + benchmark.COMMANDS + graph.COMMANDS + qos.COMMANDS
            + top.COMMANDS + upgrade.COMMANDS + keeping.COMMANDS)


def main(argv=None, streams=sys) -> int:
    """The entry point; returns the exit code."""
    words = sys.argv[1:] if argv is None else argv
    begin = time.monotonic()
    values = {}
    try:
        values, found, rest = find(words)
        if values.get('version'):
            print('Sheepdog operators\' tool, version %s'
                  % version.release(), file=streams.stdout)
            return exits.OK
        if found is None:
            print(overview(rest), file=streams.stdout if values.get('help')
                  else streams.stderr)
            return exits.OK if values.get('help') else exits.USAGE
        more, arguments = options.parse(found.options + command.COMMON, rest)
        values.update(more)
        if values.get('help'):
            print(explain(found), file=streams.stdout)
            return exits.OK
        check_count(found, arguments)
        code = run(found, values, arguments, streams)
        streams.stdout.flush()
        return code
    except (exits.Stop, errors.SheepdogError) as exc:
        streams.stdout.flush()
        print('dog: %s' % exc, file=streams.stderr)
        return exits.code_of(exc)
    except BrokenPipeError:
        # Whoever read our output has gone. The interpreter flushes once
        # more at its end: let it have somewhere to flush to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), streams.stdout.fileno())
        return exits.FAILED
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    finally:
        if values.get('time'):
            print('Elapsed time: %.3f seconds' % (time.monotonic() - begin),
                  file=streams.stderr)


def run(found, values, arguments, streams) -> int:
    session = command.Session(values, arguments, streams)
    try:
        return found.run(session) or exits.OK
    finally:
        session.close()


def find(words) -> tuple:
    """``(values of options in front, command, the words behind it)``.

    The command is None where help is asked for or no command is named; the
    words are then those of a group.

    :raises UsageError: there is no such command, or not yet
    """
    values, rest = _options_in_front(words)
    named = []
    for word in rest:
        if word.startswith('-'):
            break
        named.append(word)
    for count in range(len(named), 0, -1):
        head = tuple(named[:count])
        for known in COMMANDS:
            if known.words == head:
                # 'node recovery set-throttle' must not be taken for 'node
                # recovery' with an argument.
                _refuse_unbuilt(named)
                return values, known, rest[count:]
    _refuse_unbuilt(named)
    group = tuple(named)
    if any(known.words[:len(group)] == group for known in COMMANDS):
        if {'-h', '--help'} & set(rest):
            values['help'] = True
        return values, None, group
    raise exits.UsageError("there is no command '%s'; see dog --help"
                           % ' '.join(['dog', *named]))


def _options_in_front(words):
    """Options may also stand before the command."""
    end = 0
    takes_value = {'-' + option.short for option in command.COMMON
                   if option.metavar} | {
                       '--' + option.long for option in command.COMMON
                       if option.metavar}
    while end < len(words) and words[end].startswith('-'):
        end += 2 if words[end] in takes_value else 1
    values, _none = options.parse(
        command.COMMON + (options.Option('', 'version', ''),), words[:end])
    return values, list(words[end:])


def _refuse_unbuilt(named):
    for words in unbuilt.WORDS:
        if tuple(named[:len(words)]) == words:
            unbuilt.refuse('dog ' + ' '.join(words))


def check_count(found, arguments):
    """:raises UsageError: too few or too many of them"""
    low, high = found.counts
    if not low <= len(arguments) <= high:
        raise exits.UsageError('usage: ' + found.usage)


def explain(found) -> str:
    return '\n'.join([
        'Usage: ' + found.usage, '',
        found.help[0].upper() + found.help[1:] + '.', '',
        options.explain(found.options + command.COMMON)])


def overview(group) -> str:
    """The commands there are, of one group or of all."""
    lines = ['Usage: dog COMMAND [OPTION]... [ARGUMENT]...', '', 'Commands:']
    for known in COMMANDS:
        if known.words[:len(group)] == tuple(group):
            name = ' '.join(known.words + tuple(known.arguments.split()))
            lines.append('  %-32s%s' % (name, known.help))
    if not group:
        lines += ['', 'dog COMMAND --help tells the options of a command.']
    return '\n'.join(lines)
