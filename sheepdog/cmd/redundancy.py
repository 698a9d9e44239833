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

"""Redundancy policies as operators write them: '3' copies, or '4:2'."""

import re

from sheepdog.model import errors
from sheepdog.model import limits

_DATA_STRIPS = (2, 4, 8, 16)
_PARITY_STRIPS_MAX = 15


def parse(text) -> tuple:
    """``(copies, copy_policy)``; the policy is 0 for whole copies.

    :raises InvalidParameters: neither a number of copies nor D:P
    """
    match = re.fullmatch(r'([0-9]{1,8})(?::([0-9]{1,8}))?', text)
    if match and match.group(2) is None:
        copies = int(match.group(1))
        if 1 <= copies <= limits.COPIES_MAX:
            return copies, 0
    elif match:
        data, parity = int(match.group(1)), int(match.group(2))
        if data in _DATA_STRIPS and 1 <= parity <= _PARITY_STRIPS_MAX:
            return data + parity, (data // 2) << 4 | parity
    raise errors.InvalidParameters(
        "'%s' is no redundancy: a number of copies from 1 to %d, or D:P "
        'with D one of %s and P from 1 to %d' % (
            text, limits.COPIES_MAX, ', '.join(map(str, _DATA_STRIPS)),
            _PARITY_STRIPS_MAX))


def show(copies, copy_policy) -> str:
    if not copy_policy:
        return str(copies)
    return '%d:%d' % ((copy_policy >> 4) * 2, copy_policy & 0x0F)
