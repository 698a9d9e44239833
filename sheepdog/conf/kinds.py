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

"""Kinds of values that oslo.config does not bring."""

from oslo_config import types

from sheepdog.model import errors
from sheepdog.model import sizes


class Size(types.ConfigType):
    """Bytes, written as a whole number with B, K, M, G, T or P behind it.
    """

    def __init__(self, type_name='size'):
        super().__init__(type_name=type_name)

    def __call__(self, value):
        if isinstance(value, int):
            return value
        try:
            return sizes.parse_size(value)
        except errors.InvalidParameters as exc:
            raise ValueError(str(exc)) from None

    def _formatter(self, value):
        if not isinstance(value, int):
            return str(value)
        for suffix, shift in (('T', 40), ('G', 30), ('M', 20), ('K', 10)):
            if value and not value % (1 << shift):
                return '%d%s' % (value >> shift, suffix)
        return str(value)

    def __eq__(self, other):
        return type(self) is type(other)

    def __repr__(self):
        return 'Size'
