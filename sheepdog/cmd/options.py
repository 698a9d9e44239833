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

"""Options of a command line: declared, parsed, explained.

As with getopt, options and arguments may come in any order, flags may be
run together, and ``--`` ends the options.
"""

import dataclasses
import getopt

from sheepdog.cmd import exits


@dataclasses.dataclass(frozen=True)
class Option:
    """One option; with ``metavar`` it takes a value. ``is_many``: it may be
    given again, and its value is a list."""

    short: str
    long: str
    help: str
    metavar: str = ''
    is_many: bool = False

    @property
    def key(self) -> str:
        return self.long.replace('-', '_')


def parse(options, words) -> tuple:
    """``(values by key, arguments)``: flags are True, values text; what was
    not given is not there.

    :raises UsageError: an unknown option, a value missing
    """
    by_name = {}
    for option in options:
        by_name['--' + option.long] = option
        if option.short:
            by_name['-' + option.short] = option
    try:
        found, arguments = getopt.gnu_getopt(
            words,
            ''.join(option.short + ':' * bool(option.metavar)
                    for option in options if option.short),
            [option.long + '=' * bool(option.metavar) for option in options])
    except getopt.GetoptError as exc:
        raise exits.UsageError(exc.msg) from None
    values = {}
    for name, value in found:
        option = by_name[name]
        if option.is_many:
            values.setdefault(option.key, []).append(value)
        else:
            values[option.key] = value if option.metavar else True
    return values, arguments


def parse_pairs(name, text, keys, flags=()) -> dict:
    """``key=value`` pairs and flags with commas between.

    :param name: of the option, for complaints
    :raises UsageError: another key, a value missing
    """
    pairs = {}
    for part in text.split(','):
        key, equals, value = part.partition('=')
        if key in flags and not equals:
            pairs[key] = True
        elif key in keys and value:
            pairs[key] = value
        else:
            raise exits.UsageError("%s: '%s' is none of %s" % (
                name, part, ', '.join(
                    ['%s=' % key for key in keys] + list(flags))))
    return pairs


def explain(options) -> str:
    """The options, one or more lines each, for a help text."""
    lines = []
    for option in options:
        names = '--' + option.long
        if option.short:
            names = '-%s, %s' % (option.short, names)
        else:
            names = '    ' + names
        if option.metavar:
            names += ' ' + option.metavar
        if len(names) < 28:
            lines.append('  %-28s%s' % (names, option.help))
        else:
            lines += ['  ' + names, ' ' * 30 + option.help]
    return '\n'.join(lines)
