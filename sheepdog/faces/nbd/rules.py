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

"""Which exports a client may have, by the names in its certificate."""

import fnmatch

EVERY = '*'
"""In place of a name: every certificate."""


def parse(texts) -> tuple:
    """Of ``NAME=PATTERN``: (name, pattern) of each.

    :raises ValueError: one of them is none; it says which
    """
    found = []
    for text in texts:
        name, mark, pattern = (part.strip() for part in text.rpartition('='))
        if not (name and mark and pattern):
            raise ValueError('%r is not NAME=PATTERN' % text)
        found.append((name, pattern))
    return tuple(found)


def allow(rules, names, vdi: str) -> bool:
    """
    :param rules: of ``parse``; none: whoever has a certificate
    :param names: in the client's certificate
    """
    return not rules or any(
        (name == EVERY or name in names) and fnmatch.fnmatchcase(vdi, pattern)
        for name, pattern in rules)
