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

"""Manual pages and completion, from the commands themselves.

``make manual`` writes them; a test looks whether they say what the commands
say. What ``--help`` shows, ``doc/source/commands.rst`` and these have one
source.
"""

import argparse
import inspect
import pathlib
import string
import sys
from typing import NamedTuple

from cliff import app as cliff_app
from cliff import commandmanager

from sheepdog.cmd.dog import command
from sheepdog.cmd.dog import dispatch
from sheepdog.cmd.manage import app as manage_app
from sheepdog.cmd import sheep
from sheepdog.conf import config

ROOT = pathlib.Path(__file__).resolve().parents[1]

EXITS = (
    (0, 'done'), (1, 'it failed'),
    (2, 'something is wrong with cluster or host'),
    (3, 'it exists already'), (4, 'there is no room'), (5, 'it is missing'),
    (6, 'something was wrong, and is well now'),
    (64, 'a mistake in the arguments'), (130, 'interrupted'))

ENVIRONMENT = (
    ('SHEEPDOG_KEY_FILE', 'the key of the cluster'),
    ('SHEEPDOG_TLS_DIR', 'where the certificates are, for clusters under '
     'TLS'))


class Flag(NamedTuple):
    """An option: ``names`` as they are typed, ``metavar`` '' if it takes no
    value."""

    names: tuple
    metavar: str
    help: str


class Entry(NamedTuple):
    """A command. ``text``: paragraphs."""

    words: tuple
    arguments: str
    text: tuple
    flags: tuple


class Program(NamedTuple):
    name: str
    section: int
    summary: str
    synopsis: str
    text: tuple
    flags: tuple
    entries: tuple
    see: tuple
    files: tuple = ()
    exits: tuple = EXITS
    environment: tuple = ENVIRONMENT


def _flag(option) -> Flag:
    names = (('-' + option.short,) if option.short else ()) + (
        '--' + option.long,)
    return Flag(names, option.metavar, option.help)


def dog() -> Program:
    return Program(
        'dog', 1, 'operate a Sheepdog cluster', '[OPTION]... [ARGUMENT]...',
        ('Speaks to one of the sheep of a cluster. Its columns, options and '
         'exit codes are those that scripts know.',
         'Addresses are HOST, HOST:PORT or unix:PATH. Sizes take B, K, M, G, '
         'T or P behind the number, powers of 1024.'),
        tuple(map(_flag, command.COMMON)),
        tuple(Entry(one.words, one.arguments,
                    (one.help[0].upper() + one.help[1:] + '.',),
                    tuple(map(_flag, one.options)))
              for one in sorted(dispatch.COMMANDS,
                                key=lambda one: one.words)),
        ('sheepdog-manage(1)', 'sheep(8)'))


def manage() -> Program:
    program = manage_app.ManageApp()
    theirs = cliff_app.App('', '', commandmanager.CommandManager()).parser
    known = {action.dest for action in theirs._actions}
    entries = []
    for name, kind in sorted(manage_app.COMMANDS.items()):
        parser = kind(program, None, name).get_parser(name)
        flags = _actions(parser, parser._optionals._group_actions)
        arguments = ' '.join(
            _argument(action) for action
            in parser._positionals._group_actions)
        text = tuple(' '.join(paragraph.split()) for paragraph
                     in inspect.getdoc(kind).split('\n\n'))
        entries.append(Entry(tuple(name.split()), arguments, text, flags))
    return Program(
        'sheepdog-manage', 1, 'manage a Sheepdog cluster',
        '[OPTION]... [ARGUMENT]...',
        ('Speaks to one of the sheep of a cluster. Commands that print a '
         'table also take -f (json, yaml, csv, value, table), -c COLUMN and '
         'others: sheepdog-manage help COMMAND has them all.',),
        _actions(program.parser, [
            action for action in program.parser._actions
            if action.dest not in known]),
        tuple(entries), ('dog(1)', 'sheep(8)'))


def _argument(action) -> str:
    shown = str(action.metavar or action.dest).upper()
    if action.choices:
        shown = '{%s}' % ','.join(map(str, action.choices))
    shown += '...' if action.nargs in ('+', '*') else ''
    return '[%s]' % shown if action.nargs in ('?', '*') else shown


def _actions(parser, actions) -> tuple:
    flags = []
    for action in actions:
        if not action.option_strings or action.dest == 'help':
            continue
        metavar = ''
        if action.nargs != 0:
            metavar = str(action.metavar or action.dest).upper()
            if action.choices and not action.metavar:
                metavar = '{%s}' % ','.join(map(str, action.choices))
        flags.append(Flag(tuple(action.option_strings), metavar, (
            action.help or '') % dict(vars(action), prog=parser.prog)))
    return tuple(flags)


def daemon() -> Program:
    usage, *text = (sheep.USAGE % config.DEFAULT_FILE).strip().split('\n\n')
    return Program(
        'sheep', 8, 'the storage daemon of Sheepdog',
        usage.removeprefix('Usage: sheep '),
        tuple(' '.join(one.split()) for one in text),
        tuple(map(_flag, sheep.OPTIONS)), (),
        ('dog(1)', 'sheepdog-manage(1)'),
        ((config.DEFAULT_FILE, 'what the options say, and more'),
         ('/etc/sheepdog/cluster.key', 'the key of the cluster')),
        tuple(one for one in EXITS if one[0] in (0, 1, 2, 4, 64)) + (
            (70, 'it found itself in a state that must not be: start it '
             'again, and report what its log says'),), ())


# Manual pages.

def _roff(text) -> str:
    text = text.replace('\\', '\\e').replace('-', '\\-')
    return '\\&' + text if text[:1] in ".'" else text


def _term(flag) -> str:
    names = ', '.join('\\fB%s\\fR' % _roff(name) for name in flag.names)
    return names + (' \\fI%s\\fR' % _roff(flag.metavar) if flag.metavar
                    else '')


def _paragraphs(paragraphs) -> list:
    lines = []
    for number, text in enumerate(paragraphs):
        lines += (['.PP'] if number else []) + [_roff(text)]
    return lines


def _table(rows) -> list:
    return [line for term, text in rows
            for line in ('.TP', '\\fB%s\\fR' % _roff(str(term)),
                         _roff(text))]


def page(program: Program) -> str:
    """A manual page."""
    lines = ['.\\" Made by "make manual".',
             '.TH %s %d "" Sheepdog' % (_roff(program.name.upper()),
                                        program.section),
             '.SH NAME', '%s \\- %s' % (_roff(program.name),
                                        program.summary),
             '.SH SYNOPSIS', '\\fB%s\\fR %s%s' % (
                 _roff(program.name),
                 '\\fICOMMAND\\fR ' if program.entries else '',
                 _roff(program.synopsis)),
             '.SH DESCRIPTION', *_paragraphs(program.text)]
    if program.entries:
        lines.append('.SH COMMANDS')
        for entry in program.entries:
            usage = '\\fB%s\\fR' % _roff(' '.join(entry.words))
            if entry.arguments:
                usage += ' ' + _roff(entry.arguments)
            lines += ['.TP', usage, _roff(entry.text[0])]
            for text in entry.text[1:]:
                lines += ['.IP', _roff(text)]
            if entry.flags:
                lines.append('.RS')
                for flag in entry.flags:
                    lines += ['.TP', _term(flag), _roff(flag.help)]
                lines.append('.RE')
    lines.append('.SH OPTIONS')
    for flag in program.flags:
        lines += ['.TP', _term(flag), _roff(flag.help)]
    lines += ['.SH EXIT STATUS', *_table(program.exits)]
    if program.environment:
        lines += ['.SH ENVIRONMENT', *_table(program.environment)]
    if program.files:
        lines += ['.SH FILES', *_table(program.files)]
    lines += ['.SH SEE ALSO', ', '.join(
        '\\fB%s\\fR%s' % (_roff(name.partition('(')[0]),
                          name[name.index('('):]) for name in program.see)]
    return '\n'.join(lines) + '\n'


# Completion.

class Tree(NamedTuple):
    """By the words so far, the program's name first: the next ones with
    what is said of them; options; those that take a value."""

    words: dict
    options: dict
    takes: dict


def tree(program: Program) -> Tree:
    words, options, takes = {program.name: {}}, {}, {}

    def note(key, flags):
        flags = tuple(flags) + program.flags
        options[key] = [name for flag in flags for name in flag.names]
        takes[key] = [name for flag in flags if flag.metavar
                      for name in flag.names]

    note(program.name, ())
    for entry in program.entries:
        for place, word in enumerate(entry.words):
            key = ' '.join((program.name, *entry.words[:place]))
            words.setdefault(key, {}).setdefault(word, '')
            if key not in options:
                note(key, ())
        words[key][entry.words[-1]] = entry.text[0].rstrip('.')
        note(' '.join((program.name, *entry.words)), entry.flags)
    return Tree(words, options, takes)


_BASH = string.Template('''\
# bash completion for $name. Made by "make manual".

_$function() {
    local key=$name word skip='' words='' options='' takes=''
    local current=$${COMP_WORDS[COMP_CWORD]}
    _${function}_look
    for word in "$${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        if [[ -n $$skip ]]; then
            skip=''
        elif [[ $$word == -* ]]; then
            [[ " $$takes " == *" $$word "* ]] && skip=1
        elif [[ " $$words " == *" $$word "* ]]; then
            key+=" $$word"
            _${function}_look
        fi
    done
    COMPREPLY=()
    if [[ -n $$skip ]]; then
        compopt -o default
    elif [[ $$current == -* ]]; then
        COMPREPLY=($$(compgen -W "$$options" -- "$$current"))
    elif [[ -n $$words ]]; then
        COMPREPLY=($$(compgen -W "$$words" -- "$$current"))
    else
        compopt -o default
    fi
}

_${function}_look() {
    words='' options='' takes=''
    case $$key in
$cases
    esac
}

complete -F _$function $name
''')

_ZSH = string.Template('''\
#compdef $name
# zsh completion for $name. Made by "make manual".

_$function() {
    local key=$name word skip=''
    local -a found options takes
    _${function}_look
    for word in "$${(@)words[2,CURRENT-1]}"; do
        if [[ -n $$skip ]]; then
            skip=''
        elif [[ $$word == -* ]]; then
            (( $${takes[(Ie)$$word]} )) && skip=1
        elif (( $${found[(I)$$word:*]} )); then
            key+=" $$word"
            _${function}_look
        fi
    done
    if [[ -n $$skip ]]; then
        _files
    elif [[ $$PREFIX == -* ]]; then
        compadd -- $$options
    elif (( $$#found )); then
        _describe -t commands command found
    else
        _files
    fi
}

_${function}_look() {
    found=() options=() takes=()
    case $$key in
$cases
    esac
}

_$function "$$@"
''')


def bash(program: Program) -> str:
    known = tree(program)
    cases = []
    for key in sorted(known.options):
        cases += ["        '%s')" % key]
        for name, values in (('words', sorted(known.words.get(key, ()))),
                             ('options', known.options[key]),
                             ('takes', known.takes[key])):
            if values:
                cases.append("            %s='%s'" % (name,
                                                      ' '.join(values)))
        cases.append('            ;;')
    return _BASH.substitute(name=program.name, cases='\n'.join(cases),
                            function=program.name.replace('-', '_'))


def zsh(program: Program) -> str:
    known = tree(program)
    cases = []
    for key in sorted(known.options):
        cases += ["        ('%s')" % key]
        found = sorted(known.words.get(key, {}).items())
        if found:
            cases.append('            found=(')
            cases += ['                %s' % _quoted('%s:%s' % (
                word, text.replace(':', '\\:'))) for word, text in found]
            cases.append('            )')
        cases.append('            options=(%s)' % ' '.join(
            known.options[key]))
        cases.append('            takes=(%s)' % ' '.join(known.takes[key]))
        cases.append('            ;;')
    return _ZSH.substitute(name=program.name, cases='\n'.join(cases),
                           function=program.name.replace('-', '_'))


def _quoted(text) -> str:
    return "'%s'" % text.replace("'", "'\\''")


def files() -> dict:
    """Path from the root of the tree → text."""
    found = {}
    for program in dog(), manage(), daemon():
        found['doc/man/%s.%d' % (program.name, program.section)] = page(
            program)
        found['etc/completion/bash/' + program.name] = bash(program)
        found['etc/completion/zsh/_' + program.name] = zsh(program)
    return found


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--check', action='store_true',
                        help='write nothing; is all as it would be?')
    options = parser.parse_args(arguments)
    stale = []
    for name, text in files().items():
        path = ROOT / name
        if path.exists() and path.read_text() == text:
            continue
        stale.append(name)
        if not options.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    for name in stale:
        print(name)
    return 1 if stale and options.check else 0


if __name__ == '__main__':
    sys.exit(main())
