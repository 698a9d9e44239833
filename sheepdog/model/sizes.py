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

"""Sizes as operators write and read them. Units are powers of 1024."""

import re

from sheepdog.model import errors

SUFFIXES = 'BKMGTP'
SIZE_MAX_BYTES = (1 << 63) - 1
_SIZE = re.compile(r'([0-9]{1,20})([%s]?)' % SUFFIXES, re.IGNORECASE)


def parse_size(text: str) -> int:
    """Bytes that ``text`` stands for: '4096', '64K', '1G'.

    :raises InvalidParameters: not a whole number with a known suffix, or
        beyond 63 bits
    """
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise errors.InvalidParameters(
            "'%.40s' is not a size: a whole number, with B, K, M, G, T or "
            'P behind it' % text)
    number, suffix = match.groups()
    value = int(number) << 10 * SUFFIXES.index(suffix.upper() or 'B')
    if value > SIZE_MAX_BYTES:
        raise errors.InvalidParameters("the size '%s' is too large" % text)
    return value


def show_size(value: int) -> str:
    """Bytes for a reader: '0.0 MB', '20 MB', '1.0 GB'.

    Two significant digits below ten, whole numbers from there; MB is the
    smallest unit.
    """
    unit, shift = 'MB', 20
    for unit, shift in (('MB', 20), ('GB', 30), ('TB', 40), ('PB', 50)):
        if value < 1 << shift + 10:
            break
    amount = value / (1 << shift)
    return '%.*f %s' % (0 if amount >= 10 else 1, amount, unit)
