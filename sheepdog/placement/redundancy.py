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

"""Redundancy policies: copies, or d data strips and p parity strips.

A policy is the pair (copies, copy_policy) as inodes and requests carry it:
``copy_policy`` 0 means ``copies`` whole copies; else its high nibble is half
the number of data strips, its low nibble the number of parity strips, and
``copies`` is their sum. Operators write ``3`` or ``4:2``.
"""

from typing import NamedTuple

from sheepdog.model import errors
from sheepdog.model import limits

DATA_STRIPS = (2, 4, 8, 16)
PARITY_STRIPS_MAX = 15


class Policy(NamedTuple):
    copies: int
    copy_policy: int = 0


def parse(text: str) -> Policy:
    """The policy that an operator wrote, ``COPIES`` or ``D:P``.

    :raises InvalidParameters: it is neither, or out of range
    """
    data, colon, parity = text.partition(':')
    try:
        if not colon:
            return checked(_number(text), 0)
        return Policy(*_coded(_number(data), _number(parity)))
    except ValueError:
        raise errors.InvalidParameters(
            "'%.40s' is no redundancy: a number of copies from 1 to %d, or "
            'D:P with D one of %s and P from 1 to %d' % (
                text, limits.COPIES_MAX, ', '.join(map(str, DATA_STRIPS)),
                PARITY_STRIPS_MAX)) from None


def text_of(copies: int, copy_policy: int = 0) -> str:
    """As an operator writes it: ``3`` or ``4:2``. Of what is no policy,
    too: it is to be shown."""
    if copy_policy:
        return '%d:%d' % ((copy_policy >> 4) * 2, copy_policy & 0xF)
    return '%d' % copies


def checked(copies: int, copy_policy: int = 0) -> Policy:
    """The policy of the two numbers, with ``copies`` made to agree.

    :raises InvalidParameters: there is no such policy
    """
    if copy_policy:
        return Policy(sum(strips_of(copy_policy)), copy_policy)
    if not 1 <= copies <= limits.COPIES_MAX:
        raise errors.InvalidParameters(
            '%d copies: it must be 1 to %d' % (copies, limits.COPIES_MAX))
    return Policy(copies, 0)


def strips_of(copy_policy: int) -> tuple:
    """(data strips, parity strips) of an erasure-coded policy.

    :raises InvalidParameters: the byte stands for none
    """
    data, parity = (copy_policy >> 4) * 2, copy_policy & 0xF
    if data not in DATA_STRIPS or not parity or copy_policy > 0xFF:
        raise errors.InvalidParameters(
            'copy policy 0x%02x is no erasure code' % copy_policy)
    return data, parity


def copies_of(copies: int, copy_policy: int = 0) -> int:
    """How many members hold a part of each object."""
    return sum(strips_of(copy_policy)) if copy_policy else copies


def losses_of(copies: int, copy_policy: int = 0) -> int:
    """How many of them may be lost without losing data."""
    return strips_of(copy_policy)[1] if copy_policy else copies - 1


def whole_copies(copies: int, copy_policy: int = 0) -> int:
    """Of how many whole copies the VDI's inode and attributes are kept:
    with erasure coding as many as survive the same losses."""
    return strips_of(copy_policy)[1] + 1 if copy_policy else copies


def bytes_of(content: int, copies: int, copy_policy: int = 0) -> int:
    """That so many bytes take on all members together."""
    return content * copies // zones_needed(copies, copy_policy)


def parts(copy_policy: int = 0) -> str:
    """What there are several of, of each object."""
    return 'strips' if copy_policy else 'copies'


def parts_text(copies: int, copy_policy: int = 0) -> str:
    """As an operator reads it: ``3 copies`` or ``4:2 strips``."""
    return '%s %s' % (text_of(copies, copy_policy), parts(copy_policy))


def zones_needed(copies: int, copy_policy: int = 0) -> int:
    """With storage in fewer zones nothing can be kept at all."""
    return strips_of(copy_policy)[0] if copy_policy else 1


def _number(text):
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        raise ValueError
    return int(text)


def _coded(data, parity):
    if data not in DATA_STRIPS or not 1 <= parity <= PARITY_STRIPS_MAX:
        raise ValueError
    return data + parity, data // 2 << 4 | parity
