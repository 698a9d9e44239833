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

"""Names and numbers as commands say them."""

NAMES_MAX = 10


def host_port(fields) -> str:
    """:param fields: a member's or a node's: host and port among them"""
    if ':' in fields['host']:
        return '[%s]:%d' % (fields['host'], fields['port'])
    return '%s:%d' % (fields['host'], fields['port'])


def address(fields) -> str:
    """As ``host_port``, but as sheep name each other in their facts."""
    return '%s:%d' % (fields['host'], fields['port'])


def some(names, most: int = NAMES_MAX) -> str:
    """The first of them, and how many more there are."""
    names = list(names)
    if len(names) > most:
        names[most:] = ['%d more' % (len(names) - most)]
    return ', '.join(names)


def are(names) -> str:
    return '%s %s' % (some(names), 'is' if len(names) == 1 else 'are')


def do(names) -> str:
    return '%s %s' % (some(names), 'does' if len(names) == 1 else 'do')


def count(number: int, one: str, many: str = '') -> str:
    """:param many: the plural, where it is not ``one`` with an s"""
    return '%d %s' % (number, one if number == 1 else many or one + 's')
