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

"""The options of NBD's handshake: their numbers, and what a client asks.

``decode`` makes a question of an option's payload; ``nbd_handshake`` says
when an option comes and how it is answered.
"""

import struct
from typing import NamedTuple
import unicodedata

from sheepdog.wire import nbd

INIT_MAGIC = 0x4E42444D41474943
OPTION_MAGIC = 0x49484156454F5054
REPLY_MAGIC = 0x0003E889045565A9

GREETING = struct.Struct('>QQH')
CLIENT_FLAGS = struct.Struct('>I')
OPTION = struct.Struct('>QII')
REPLY = struct.Struct('>QIII')
CHOSEN = struct.Struct('>QH')
"""The answer to EXPORT_NAME: size, transmission flags."""
CHOSEN_ZEROES = bytes(124)

_U16 = struct.Struct('>H')
_U32 = struct.Struct('>I')

FLAG_FIXED_NEWSTYLE = 1 << 0
FLAG_NO_ZEROES = 1 << 1

OPT_EXPORT_NAME = 1
OPT_ABORT = 2
OPT_LIST = 3
OPT_STARTTLS = 5
OPT_INFO = 6
OPT_GO = 7
OPT_STRUCTURED_REPLY = 8
OPT_LIST_META_CONTEXT = 9
OPT_SET_META_CONTEXT = 10
OPT_EXTENDED_HEADERS = 11

REP_ACK = 1
REP_SERVER = 2
REP_INFO = 3
REP_META_CONTEXT = 4
REP_ERROR = 1 << 31

INFO_EXPORT = 0
INFO_NAME = 1
INFO_DESCRIPTION = 2
INFO_BLOCK_SIZE = 3

PAYLOAD_MAX_BYTES = 64 << 10
"""Of an option. Longer ones are refused, their payload is dropped."""

CONTEXT_ID = 1
"""Ours for base:allocation, the only metadata context there is."""


class Question(NamedTuple):
    """What the machine wants to know before it can answer an option.

    OPT_LIST: ``list_exports``. OPT_STARTTLS: ``start_tls``. All others ask
    for the export of that name: OPT_GO and OPT_EXPORT_NAME to open it,
    OPT_INFO and the two of metadata contexts to describe it.
    """

    option: int
    name: str = ''
    wanted: tuple = ()
    """Kinds of information (INFO_*), of OPT_INFO and OPT_GO."""
    queries: tuple = ()
    """Of the metadata context options."""


class Refused(Exception):
    """An option's payload does not deserve a question."""

    def __init__(self, reply_type: int, text: str):
        super().__init__(text)
        self.reply_type = reply_type


def _decode_nothing(option: int, payload: bytes) -> Question:
    if payload:
        raise Refused(nbd.REP_ERR_INVALID, 'the option takes no data')
    return Question(option)


def _decode_abort(option: int, payload: bytes) -> Question:
    # Whoever leaves need not be polite.
    return Question(option)


def _decode_export_name(option: int, payload: bytes) -> Question:
    return Question(option, _name(payload))


def _decode_info(option: int, payload: bytes) -> Question:
    name, position = _string(payload, 0, _name)
    count = _number(_U16, payload, position)
    position += _U16.size
    if len(payload) - position != count * _U16.size:
        raise Refused(nbd.REP_ERR_INVALID, 'lengths do not add up')
    return Question(option, name,
                    wanted=struct.unpack_from('>%dH' % count, payload,
                                              position))


def _decode_contexts(option: int, payload: bytes) -> Question:
    name, position = _string(payload, 0, _name)
    count = _number(_U32, payload, position)
    position += _U32.size
    if count * _U32.size > len(payload) - position:
        raise Refused(nbd.REP_ERR_INVALID, 'lengths do not add up')
    queries = []
    for _index in range(count):
        query, position = _string(payload, position)
        queries.append(query)
    if position != len(payload):
        raise Refused(nbd.REP_ERR_INVALID, 'lengths do not add up')
    return Question(option, name, queries=tuple(queries))


def decode(option: int, payload: bytes) -> Question:
    """
    :param option: one of ``KNOWN``
    :raises Refused: the payload does not fit it
    """
    return _DECODERS[option](option, payload)


_DECODERS = {
    OPT_EXPORT_NAME: _decode_export_name,
    OPT_ABORT: _decode_abort,
    OPT_LIST: _decode_nothing,
    OPT_STARTTLS: _decode_nothing,
    OPT_INFO: _decode_info,
    OPT_GO: _decode_info,
    OPT_STRUCTURED_REPLY: _decode_nothing,
    OPT_LIST_META_CONTEXT: _decode_contexts,
    OPT_SET_META_CONTEXT: _decode_contexts,
}
KNOWN = frozenset(_DECODERS)


def _number(layout: struct.Struct, payload: bytes, position: int) -> int:
    if len(payload) - position < layout.size:
        raise Refused(nbd.REP_ERR_INVALID, 'the option is too short')
    return layout.unpack_from(payload, position)[0]


def _text(encoded: bytes) -> str:
    try:
        return encoded.decode()
    except UnicodeDecodeError:
        raise Refused(nbd.REP_ERR_INVALID, 'not UTF-8') from None


def _name(encoded: bytes) -> str:
    """Of an export. What no name should hold is not looked up."""
    name = _text(encoded)
    if any(unicodedata.category(letter) == 'Cc' for letter in name):
        raise Refused(nbd.REP_ERR_INVALID, 'a name of control characters')
    return name


def _string(payload: bytes, position: int, decode=_text):
    """A length and that many bytes: (text, position behind it)."""
    length = _number(_U32, payload, position)
    position += _U32.size
    if length > len(payload) - position:
        raise Refused(nbd.REP_ERR_INVALID, 'lengths do not add up')
    if length > nbd.STRING_MAX_BYTES:
        raise Refused(nbd.REP_ERR_TOO_BIG, 'a string of %d bytes is over '
                      'the limit of %d' % (length, nbd.STRING_MAX_BYTES))
    return decode(payload[position:position + length]), position + length
