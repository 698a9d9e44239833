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

"""Logging of the daemon.

What is logged while a sheep starts is kept in memory until it is clear that
the store is ours to write a log into.
"""

import errno
import logging
import logging.handlers
import os
import re
import sys

import logging_journald
from oslo_config import cfg
from oslo_log import formatters
from oslo_log import log as oslo_log

from sheepdog.cmd import exits
from sheepdog.cmd import version

LEVELS = {
    'emerg': logging.CRITICAL + 20, 'alert': logging.CRITICAL + 10,
    'crit': logging.CRITICAL, 'err': logging.ERROR,
    'warning': logging.WARNING, 'notice': logging.INFO + 5,
    'info': logging.INFO, 'debug': logging.DEBUG}

EARLY_RECORDS_MAX = 10000

SYSLOG_PATH = '/dev/log'
JOURNAL_PATH = '/run/systemd/journal/socket'

_CONTROL = re.compile('[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]')

_own: dict = {}
"""Loggers with a level of their own: name → level."""

_QUIET = ('kazoo', 'urllib3', 'tooz', 'asyncio', 'oslo_concurrency')
"""Libraries that tell more than an operator wants to know."""


def set_level(name: str, logger: str = '') -> None:
    """Of everything, or of one logger and those below it, from now on.

    :raises KeyError: there is no such level
    """
    level = LEVELS[name]
    if logger:
        _own[logger] = name
        logging.getLogger(logger).setLevel(level)
        return
    logging.getLogger().setLevel(level)
    for quiet in _QUIET:
        logging.getLogger(quiet).setLevel(
            level if level <= logging.DEBUG
            else max(level, logging.WARNING))
    for logger, own in _own.items():
        logging.getLogger(logger).setLevel(LEVELS[own])


def set_levels(level: str, loggers) -> None:
    """As configured: ``loggers`` are pairs (name, level); all others go
    with the rest again."""
    for logger in list(_own):
        del _own[logger]
        logging.getLogger(logger).setLevel(logging.NOTSET)
    set_level(level)
    for logger, own in loggers:
        set_level(own, logger)


def loggers() -> dict:
    """Name → level of those that have one of their own."""
    return dict(sorted(_own.items()))


def level(logger: str = '') -> str:
    """The name of the level that counts now."""
    current = logging.getLogger(logger or None).getEffectiveLevel()
    return min(LEVELS, key=lambda name: abs(LEVELS[name] - current))


def levels() -> list:
    """Their names, the most urgent first."""
    return list(LEVELS)


def escape(record) -> bool:
    """A filter that lets all pass, on one line each: names come from
    clients, and must not forge lines or move a terminal's cursor."""
    message = record.getMessage()
    if _CONTROL.search(message):
        record.msg = _CONTROL.sub(
            lambda found: found.group().encode('unicode_escape').decode(),
            message)
        record.args = None
    return True


class JournalHandler(logging.Handler):
    """To systemd's journal, with fields to search by."""

    def __init__(self):
        super().__init__()
        if not os.path.exists(JOURNAL_PATH):
            raise FileNotFoundError(errno.ENOENT, 'systemd has none here')
        self._transport = logging_journald.JournaldTransport(JOURNAL_PATH)
        # A journal that does not keep up must not hold up the sheep.
        self._transport.socket.setblocking(False)

    def emit(self, record):
        try:
            self._transport.send(self._fields(record))
            self._transport.socket.setblocking(False)
        except BlockingIOError:
            return
        except OSError:
            self.handleError(record)

    def _fields(self, record):
        yield 'MESSAGE', self.format(record)
        yield 'PRIORITY', _priority(record.levelno)
        yield 'SYSLOG_IDENTIFIER', 'sheep'
        yield 'SYSLOG_PID', record.process
        yield 'LOGGER', record.name
        yield 'CODE_FILE', record.pathname
        yield 'CODE_LINE', record.lineno
        yield 'CODE_FUNC', record.funcName
        yield 'REQUEST_ID', getattr(record, 'request_id', None)

    def close(self):
        self._transport.socket.close()
        super().close()


def _priority(level):
    """Syslog's, 0 to 7."""
    return next(number for number, least in enumerate(LEVELS.values())
                if level >= least or least == logging.DEBUG)


class ReopeningFileHandler(logging.FileHandler):
    """A file that another program may move away."""

    def reopen(self):
        with self.lock:
            if self.stream is not None:
                self.stream.close()
            self.stream = self._open()


class Logs:
    """From memory to where the settings say.

    :param settings: ``conf.settings.LogSettings``
    """

    def __init__(self, settings):
        self._settings = settings
        self._early = logging.handlers.MemoryHandler(
            EARLY_RECORDS_MAX, flushLevel=logging.CRITICAL + 100,
            flushOnClose=False)
        self._handler = None
        root = logging.getLogger()
        root.addHandler(self._early)
        set_levels(settings.level, settings.loggers)

    def open(self):
        """Write what was kept, and go on at the place meant for it.

        :raises Stop: that place cannot be written
        """
        try:
            handler = self._new_handler()
        except OSError as exc:
            raise exits.Stop('cannot log to %s: %s; choose with -l' % (
                self._settings.path
                if self._settings.destination == 'default'
                else self._settings.destination, exc.strerror or exc),
                exits.SYSTEM) from None
        handler.setFormatter(_new_formatter(
            self._settings.format, self._settings.destination))
        if not isinstance(handler, JournalHandler):
            # (There a message is one, however many lines it has.)
            handler.addFilter(escape)
        self._handler = handler
        root = logging.getLogger()
        root.addHandler(handler)
        root.removeHandler(self._early)
        self._early.setTarget(handler)
        self._early.flush()
        self._early.close()

    def open_if_there(self):
        """For last words: as ``open``, but begins no new file."""
        if self._handler is not None:
            return
        if (self._settings.destination != 'default'
                or os.path.exists(self._settings.path)):
            try:
                self.open()
            except exits.Stop:  # the words are said on stderr
                pass

    def open_if_outside(self, meta):
        """As ``open_if_there``, but never in the store ``meta``."""
        if (self._settings.destination != 'default'
                or os.path.dirname(self._settings.path) != meta):
            self.open_if_there()

    def reopen(self):
        """After log rotation: begin the file anew."""
        if isinstance(self._handler, ReopeningFileHandler):
            self._handler.reopen()

    def close(self):
        root = logging.getLogger()
        for handler in (self._early, self._handler):
            if handler is not None:
                root.removeHandler(handler)
                handler.close()
        self._handler = None

    def _new_handler(self):
        if self._settings.destination == 'stdout':
            return logging.StreamHandler(sys.stdout)
        if self._settings.destination == 'syslog':
            handler = logging.handlers.SysLogHandler(
                SYSLOG_PATH, logging.handlers.SysLogHandler.LOG_DAEMON)
            handler.ident = 'sheep[%d]: ' % os.getpid()
            return handler
        if self._settings.destination == 'journal':
            return JournalHandler()
        os.makedirs(os.path.dirname(self._settings.path), exist_ok=True)
        return ReopeningFileHandler(self._settings.path, encoding='utf-8')


class _JSONFormatter(formatters.JSONFormatter):
    """With the id of the request that a line is about."""

    def format(self, record):
        if hasattr(record, 'request_id'):
            record.extra_keys = ['request_id']
        return super().format(record)


def _new_formatter(name, destination):
    if name == 'json':
        return _JSONFormatter()
    if name == 'server':
        # The line format of OpenStack's services, with their defaults.
        conf = cfg.ConfigOpts()
        oslo_log.register_options(conf)
        conf(args=[], project='sheepdog', default_config_files=[],
             default_config_dirs=[])
        return formatters.ContextFormatter(
            config=conf, project='sheepdog', version=version.release(),
            datefmt=conf.log_date_format)
    if destination in ('syslog', 'journal'):
        # They have the time, the level and who it is.
        return logging.Formatter('%(name)s: %(message)s')
    return logging.Formatter(
        '%(asctime)s.%(msecs)03d %(levelname)-8s %(name)s: %(message)s',
        datefmt='%Y-%m-%d %H:%M:%S')
