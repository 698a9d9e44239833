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

"""What dog says to what it is told, line by line of its reference.

Expected output stands as it is printed, but for what differs from run to
run: ``<n>`` a number, ``<hex>`` hexadecimal digits, ``<size>``, ``<time>`` to
the minute, ``<date>``, ``<address>``, ``<any>`` anything within a line. A
line ``...`` stands for any lines. ``{0}``, ``{1}``, ``{2}`` are the addresses
of the sheep, ``{vid}`` is the id of the VDI ``test``.
"""

import re
from typing import NamedTuple

PATTERNS = {
    '<n>': r'\d+',
    '<hex>': r'[0-9a-f]+',
    '<size>': r' *\d+(\.\d)? [KMGTP]?B',
    '<time>': r'\d{4}-\d\d-\d\d \d\d:\d\d',
    '<date>': r'\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}',
    '<address>': r'127\.0\.0\.1:\d+',
    '<any>': r'[^\n]*',
}


class Case(NamedTuple):
    """``error``: what standard error says, the same way; ``given``: what
    standard input has."""

    words: str
    output: str = ''
    code: int = 0
    error: str = ''
    given: bytes = b''


def pattern(text: str) -> str:
    """A regular expression of the whole of what is expected."""
    found = ''
    for line in text.splitlines(True):
        if line == '...\n':
            found += r'(?:[^\n]*\n)*'
            continue
        for piece in re.split('(<[a-z]+>)', line):
            found += PATTERNS.get(piece) or re.escape(piece)
    return found


def differs(case: Case, code: int, output: str, error: str) -> str:
    """How what was seen differs from what is expected; '' if not."""
    if code != case.code:
        return 'exit code %d, not %d: %s' % (code, case.code, error)
    for name, wanted, got in (('output', case.output, output),
                              ('error', case.error, error)):
        if not re.fullmatch(pattern(wanted), got):
            return '%s: %r, not %r' % (name, got, wanted)
    return ''
