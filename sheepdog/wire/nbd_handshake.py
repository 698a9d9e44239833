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

"""The handshake of NBD (fixed newstyle): how a client chooses an export.

``Handshake`` is the server's role, a state machine without I/O: bytes in by
``receive``, bytes out by ``take_output``. What it cannot know (which exports
there are) it asks: ``question`` is set, and nothing more is read until
``accept``, ``refuse``, ``list_exports`` or ``start_tls`` answers. The
client's role is in ``nbd_client``.

    server                                    client
    greeting 18 B          ───────────▶
                           ◀───────────       flags u32
                           ◀───────────       option 16 B + payload  ┐ until
    reply 20 B + payload   ───────────▶                              ┘ chosen
"""

import enum
import struct
from typing import Optional

from sheepdog.wire import nbd
from sheepdog.wire import nbd_options as options

_U16 = struct.Struct('>H')
_U32 = struct.Struct('>I')
_INFO_EXPORT = struct.Struct('>HQH')
_INFO_BLOCK_SIZE = struct.Struct('>HIII')


class Tls(enum.Enum):
    """What is made of STARTTLS."""

    NONE = 'unsupported'
    OFFERED = 'offered'
    REQUIRED = 'required'


class State(enum.Enum):
    FLAGS = 'awaiting the client flags'
    OPTION = 'awaiting the header of an option'
    PAYLOAD = 'awaiting the payload of an option'
    DROPPING = 'letting the payload of a refused option go by'
    ASKING = 'awaiting the answer to a question'
    TRANSMISSION = 'an export is chosen'
    CLOSED = 'the connection is to be closed'


class Signal(enum.Enum):
    AGREED = 'the client flags are good'
    BEGUN = 'an option begins whose payload is wanted'
    UNWANTED = 'an option begins whose payload is not wanted'
    ASKED = 'somebody else has to know'
    ANSWERED = 'the option is dealt with'
    CHOSEN = 'the client has its export'
    ENDED = 'there is nothing more to say'


NEXT = {
    (State.FLAGS, Signal.AGREED): State.OPTION,
    (State.FLAGS, Signal.ENDED): State.CLOSED,
    (State.OPTION, Signal.BEGUN): State.PAYLOAD,
    (State.OPTION, Signal.UNWANTED): State.DROPPING,
    (State.OPTION, Signal.ENDED): State.CLOSED,
    (State.PAYLOAD, Signal.ANSWERED): State.OPTION,
    (State.PAYLOAD, Signal.ASKED): State.ASKING,
    (State.PAYLOAD, Signal.ENDED): State.CLOSED,
    (State.DROPPING, Signal.ANSWERED): State.OPTION,
    (State.ASKING, Signal.ANSWERED): State.OPTION,
    (State.ASKING, Signal.CHOSEN): State.TRANSMISSION,
    (State.ASKING, Signal.ENDED): State.CLOSED,
}


class Handshake:
    """The server's role. One per connection."""

    def __init__(self, tls: Tls = Tls.NONE):
        self.state = State.FLAGS
        self.question: Optional[options.Question] = None
        self.structured = False
        """The client takes structured replies."""
        self.is_encrypted = False
        """Or will be, behind the output."""
        self.is_tls_missing = False
        """Something was refused for it. Whoever tells of it resets it."""
        self.room_bytes = options.CLIENT_FLAGS.size
        """Length of what is awaited."""
        self.reason = ''
        """Why it is CLOSED, for the log."""
        self._tls = tls
        self._fixed = False
        self._no_zeroes = False
        self._option = 0
        self._drop_bytes = 0
        self._selected: Optional[str] = None
        self._chosen: Optional[str] = None
        self._output = [options.GREETING.pack(
            options.INIT_MAGIC, options.OPTION_MAGIC,
            options.FLAG_FIXED_NEWSTYLE | options.FLAG_NO_ZEROES)]

    @property
    def has_allocation(self) -> bool:
        """The context base:allocation is selected for the chosen export."""
        return self._selected is not None and self._selected == self._chosen

    def take_output(self) -> list:
        """Buffers to send, in order; they are the caller's from now on."""
        output, self._output = self._output, []
        return output

    # Input.

    def receive(self, buffer, start: int, end: int) -> int:
        """Take what is whole in ``buffer[start:end]``; return the position
        up to which bytes were used.

        It stops at a question, and in TRANSMISSION: what follows is not an
        option.

        :raises Violation: this is not the NBD protocol; state is CLOSED
        """
        position = start
        while self.state in _STEPS:
            if self.state is State.DROPPING:
                gone = min(self._drop_bytes, end - position)
                self._drop_bytes -= gone
                position += gone
                if self._drop_bytes:
                    break
                self._move(Signal.ANSWERED)
                continue
            if end - position < self.room_bytes:
                break
            message = bytes(buffer[position:position + self.room_bytes])
            position += self.room_bytes
            _STEPS[self.state](self, message)
            if (self.question is not None and position != end and
                    self.question.option == options.OPT_STARTTLS):
                # Whoever sits in the middle could have put it there, to be
                # taken for the client's own words after the upgrade.
                raise self._violation('bytes in clear behind STARTTLS')
        return position

    def _take_flags(self, message: bytes) -> None:
        flags, = options.CLIENT_FLAGS.unpack(message)
        if flags & ~(options.FLAG_FIXED_NEWSTYLE | options.FLAG_NO_ZEROES):
            raise self._violation('unknown client flags 0x%x' % flags)
        self._fixed = bool(flags & options.FLAG_FIXED_NEWSTYLE)
        self._no_zeroes = bool(flags & options.FLAG_NO_ZEROES)
        self._move(Signal.AGREED)

    def _take_header(self, message: bytes) -> None:
        magic, option, length = options.OPTION.unpack(message)
        if magic != options.OPTION_MAGIC:
            raise self._violation('wrong magic of an option: 0x%x' % magic)
        if not self._fixed and option != options.OPT_EXPORT_NAME:
            raise self._violation('option %d without fixed newstyle'
                                  % option)
        self._option = option
        refusal = self._refusal(option, length)
        if refusal is None:
            self._move(Signal.BEGUN, length)
        elif option == options.OPT_EXPORT_NAME:
            # There is no way to refuse it politely.
            self._end(refusal[1])
        else:
            self._fail(*refusal)
            self._drop_bytes = length
            self._move(Signal.UNWANTED)

    def _refusal(self, option: int, length: int):
        """(reply type, text) where the header alone decides."""
        if (self._tls is Tls.REQUIRED and not self.is_encrypted and
                option not in (options.OPT_STARTTLS, options.OPT_ABORT)):
            self.is_tls_missing = True
            return nbd.REP_ERR_TLS_REQD, 'TLS is required here'
        if option not in options.KNOWN:
            return nbd.REP_ERR_UNSUP, 'option %d is unknown' % option
        if option == options.OPT_STARTTLS and self._tls is Tls.NONE:
            return nbd.REP_ERR_UNSUP, 'TLS is not configured'
        if option == options.OPT_EXPORT_NAME and length > nbd.STRING_MAX_BYTES:
            return nbd.REP_ERR_TOO_BIG, 'the name is too long'
        if length > options.PAYLOAD_MAX_BYTES:
            return nbd.REP_ERR_TOO_BIG, 'the option is too long'
        return None

    def _take_payload(self, payload: bytes) -> None:
        option = self._option
        if option == options.OPT_SET_META_CONTEXT:
            # Also one that fails replaces what was selected before.
            self._selected = None
        try:
            question = options.decode(option, payload)
            self._check_order(option)
        except options.Refused as refused:
            self._refuse(refused.reply_type, str(refused))
            return
        if option == options.OPT_ABORT:
            self._reply(options.REP_ACK)
            self._end('the client gave up')
        elif option == options.OPT_STRUCTURED_REPLY:
            self.structured = True
            self._reply(options.REP_ACK)
            self._move(Signal.ANSWERED)
        else:
            self.question = question
            self._move(Signal.ASKED)

    def _check_order(self, option: int) -> None:
        if option == options.OPT_STARTTLS and self.is_encrypted:
            raise options.Refused(nbd.REP_ERR_INVALID, 'TLS is on already')
        if (option in (options.OPT_LIST_META_CONTEXT,
                       options.OPT_SET_META_CONTEXT) and
                not self.structured):
            raise options.Refused(nbd.REP_ERR_INVALID,
                                  'structured replies come first')

    # Answers.

    def accept(self, export: nbd.Export) -> None:
        """The export asked for is there (and open, if that was asked)."""
        question = self._answered()
        if question.option == options.OPT_EXPORT_NAME:
            self._chosen = question.name
            self._output.append(options.CHOSEN.pack(
                export.size, self._flags(export)))
            if not self._no_zeroes:
                self._output.append(options.CHOSEN_ZEROES)
            self._move(Signal.CHOSEN)
        elif question.option in (options.OPT_INFO, options.OPT_GO):
            self._inform(question, export)
            if question.option == options.OPT_GO:
                self._chosen = question.name
                self._move(Signal.CHOSEN)
            else:
                self._move(Signal.ANSWERED)
        else:
            assert question.option in (options.OPT_LIST_META_CONTEXT,
                                       options.OPT_SET_META_CONTEXT)
            self._contexts(question)
            self._move(Signal.ANSWERED)

    def refuse(self, reply_type: int, text: str) -> None:
        """The export asked for is not to be had (the list is not to be had).

        :param reply_type: one of REP_ERR_*
        """
        self._answered()
        self._refuse(reply_type, text)

    def list_exports(self, names) -> None:
        question = self._answered()
        assert question.option == options.OPT_LIST
        for name in names:
            encoded = nbd.encode_text(name)
            self._reply(options.REP_SERVER, _U32.pack(len(encoded)) + encoded)
        self._reply(options.REP_ACK)
        self._move(Signal.ANSWERED)

    def start_tls(self) -> None:
        """The connection is upgraded behind the output of this call. What
        was agreed in clear is forgotten."""
        question = self._answered()
        assert question.option == options.OPT_STARTTLS
        self._reply(options.REP_ACK)
        self.is_encrypted = True
        self.structured = False
        self._selected = None
        self._move(Signal.ANSWERED)

    def _answered(self) -> options.Question:
        question = self.question
        assert question is not None, 'an answer without a question'
        self.question = None
        return question

    def _flags(self, export: nbd.Export) -> int:
        if self.structured:
            return export.flags | nbd.FLAG_SEND_DF
        return export.flags

    def _inform(self, question: options.Question, export: nbd.Export) -> None:
        self._reply(options.REP_INFO, _INFO_EXPORT.pack(
            options.INFO_EXPORT, export.size, self._flags(export)))
        if options.INFO_NAME in question.wanted:
            self._reply(options.REP_INFO, _U16.pack(options.INFO_NAME) +
                        nbd.encode_text(export.name))
        if options.INFO_DESCRIPTION in question.wanted and export.description:
            self._reply(options.REP_INFO, _U16.pack(options.INFO_DESCRIPTION) +
                        nbd.encode_text(export.description))
        if options.INFO_BLOCK_SIZE in question.wanted:
            self._reply(options.REP_INFO, _INFO_BLOCK_SIZE.pack(
                options.INFO_BLOCK_SIZE, nbd.BLOCK_MIN_BYTES,
                nbd.BLOCK_PREFERRED_BYTES, nbd.PAYLOAD_MAX_BYTES))
        self._reply(options.REP_ACK)

    def _contexts(self, question: options.Question) -> None:
        is_set = question.option == options.OPT_SET_META_CONTEXT
        found = nbd.CONTEXT_ALLOCATION in question.queries
        if not is_set:
            # Only a list may be asked for without a name, or by namespace.
            found = (found or 'base:' in question.queries or
                     not question.queries)
        if found:
            self._reply(options.REP_META_CONTEXT,
                        _U32.pack(options.CONTEXT_ID if is_set else 0) +
                        nbd.CONTEXT_ALLOCATION.encode())
            if is_set:
                self._selected = question.name
        self._reply(options.REP_ACK)

    # Output and state.

    def _reply(self, reply_type: int, payload: bytes = b'') -> None:
        self._output.append(options.REPLY.pack(
            options.REPLY_MAGIC, self._option, reply_type,
            len(payload)) + payload)

    def _fail(self, reply_type: int, text: str) -> None:
        assert reply_type & options.REP_ERROR
        self._reply(reply_type, nbd.encode_text(text))

    def _refuse(self, reply_type: int, text: str) -> None:
        if self._option == options.OPT_EXPORT_NAME:
            self._end(text)
        else:
            self._fail(reply_type, text)
            self._move(Signal.ANSWERED)

    def _end(self, reason: str) -> None:
        self.reason = reason
        self._move(Signal.ENDED)

    def _violation(self, text: str) -> nbd.Violation:
        self.question = None
        self._end(text)
        return nbd.Violation(text)

    def _move(self, signal: Signal, payload_bytes: int = 0) -> None:
        self.state = NEXT[self.state, signal]
        if self.state is State.OPTION:
            self.room_bytes = options.OPTION.size
        else:
            self.room_bytes = payload_bytes


_STEPS = {
    State.FLAGS: Handshake._take_flags,
    State.OPTION: Handshake._take_header,
    State.PAYLOAD: Handshake._take_payload,
    State.DROPPING: None,
}
"""The states in which bytes are taken, and by what."""
