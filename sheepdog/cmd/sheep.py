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

"""The daemon's command: options, settings, background, and then the loop.

What can be found wrong without touching the store is found before: the
options, the pidfile, the ports. The rest is refused by the rooms, each
before it changes anything.
"""

import asyncio
import functools
import logging
import os
import signal
import sys

from sheepdog.cmd import background
from sheepdog.cmd import exits
from sheepdog.cmd import logs as logs_module
from sheepdog.cmd import options
from sheepdog.cmd import pidfile as pidfile_module
from sheepdog.cmd import place
from sheepdog.cmd import upgrade
from sheepdog.cmd import version
from sheepdog.conf import config
from sheepdog.conf import settings as settings_module
from sheepdog.model import errors
from sheepdog.world import linux

LOG = logging.getLogger(__name__)

USAGE = """\
Usage: sheep [OPTION]... [META[,DISK]...]

Serve the store in the directory META as a member of a cluster. Objects lie
in META, or on the disks, where the directories of some are named. Goes to
the background once it serves. Each option can also stand in a configuration
file (%s). Sizes take B, K, M, G, T or P.

"""

OPTIONS = (
    options.Option('b', 'bindaddr', 'listen on this address (default: all)',
                   'ADDRESS'),
    options.Option('y', 'myaddr', 'the address told to the other sheep',
                   'ADDRESS'),
    options.Option('p', 'port', 'TCP port (default: 7000)', 'PORT'),
    options.Option('c', 'cluster', 'coordination: local[:DIR], '
                   'zookeeper:HOST:PORT,... and others', 'URL'),
    options.Option('', 'ttl', 'a sheep not heard of for so long is out',
                   'SECONDS'),
    options.Option('z', 'zone', 'fault zone (default: from the address)',
                   'NUMBER'),
    options.Option('g', 'gateway', 'keep no objects here'),
    options.Option('i', 'ioaddr', 'a second network for data: host=,port=',
                   'PAIRS'),
    options.Option('j', 'journal', 'size=,dir=,skip', 'PAIRS'),
    options.Option('', 'lost-disk', 'give this disk up, with all that is on '
                   'it; may be repeated', 'DISK', is_many=True),
    options.Option('n', 'nosync', 'acknowledge from the page cache'),
    options.Option('D', 'directio', 'bypass the page cache (not built yet)'),
    options.Option('V', 'vnodes', 'fixed number of virtual nodes', 'NUMBER'),
    options.Option('R', 'recovery', 'max=,interval=,grace_seconds=', 'PAIRS'),
    options.Option('l', 'log', 'dir=,level=,format=,dst=', 'PAIRS'),
    options.Option('', 'nbd', 'serve NBD: host=,port=,path=', 'PAIRS'),
    options.Option('r', 'http', 'serve HTTP (not built yet)', 'PAIRS'),
    options.Option('P', 'pidfile', 'write the process id there', 'PATH'),
    options.Option('f', 'foreground', 'stay in the foreground'),
    options.Option('u', 'upgrade', 'first finish what dog upgrade adopt has '
                   'begun in META'),
    options.Option('', 'key-file', 'the key of the cluster (default: '
                   '/etc/sheepdog/cluster.key, if it exists)', 'PATH'),
    options.Option('', 'config-file', 'read this file; may be repeated',
                   'PATH', is_many=True),
    options.Option('v', 'version', 'print the version'),
    options.Option('h', 'help', 'print this help'),
)

PLAIN = {'bindaddr': ('', 'bindaddr'), 'myaddr': ('', 'myaddr'),
         'port': ('', 'port'), 'zone': ('', 'zone'),
         'gateway': ('', 'gateway'), 'nosync': ('', 'nosync'),
         'lost_disk': ('', 'lost_disks'),
         'vnodes': ('', 'vnodes'), 'pidfile': ('', 'pidfile'),
         'foreground': ('', 'foreground'), 'upgrade': ('', 'upgrade'),
         'cluster': ('cluster', 'url'),
         'ttl': ('cluster', 'ttl_seconds'),
         'key_file': ('security', 'key_file')}
"""Options with one value: the (group, name) they stand for."""

PAIRS = {'ioaddr': ('io', ('host', 'port'), ()),
         'journal': ('journal', ('size', 'dir'), ('skip',)),
         'recovery': ('recovery', ('max', 'interval', 'grace_seconds'), ()),
         'log': ('log', ('dir', 'level', 'format', 'dst'), ()),
         'nbd': ('nbd', ('host', 'port', 'path'), ())}
"""Options with several: their group, keys, flags."""

UNBUILT = {'http': '-r, --http', 'directio': '-D, --directio'}

STOP_SECONDS_MAX = 60.0
"""An orderly stop that takes longer is cut short: the journal has it all."""


def main(argv=None) -> int:
    """The entry point; returns the exit code (in the daemon, too)."""
    words = sys.argv[1:] if argv is None else argv
    try:
        values, arguments = options.parse(OPTIONS, words)
        if 'help' in values:
            print(USAGE % config.DEFAULT_FILE + options.explain(OPTIONS))
            return exits.OK
        if 'version' in values:
            print('Sheepdog daemon version %s' % version.release())
            return exits.OK
        conf = read_configuration(values, arguments)
        settings = settings_module.build(conf)
    except exits.UsageError as exc:
        print('sheep: %s\nTry sheep --help.' % exc, file=sys.stderr)
        return exc.exit_code
    except config.ConfigRefused as exc:
        print('sheep: %s' % exc, file=sys.stderr)
        return exits.USAGE
    return launch(settings, reload=functools.partial(_reload, conf))


def _reload(conf) -> settings_module.SheepSettings:
    """The files have changed, perhaps.

    :raises ConfigRefused: they cannot be used; all stays as it was
    """
    config.reload(conf)
    return settings_module.build(conf)


def read_settings(values, arguments) -> settings_module.SheepSettings:
    """As ``read_configuration``, and what it stands for."""
    return settings_module.build(read_configuration(values, arguments))


def read_configuration(values, arguments):
    """From the command line, and the files that it names.

    :raises UsageError: an option that is not there, or not yet
    :raises ConfigRefused: a value that cannot be used
    """
    for key, shown in UNBUILT.items():
        if key in values:
            raise exits.UsageError(
                '%s is not built yet in this version' % shown)
    if len(arguments) > 1:
        raise exits.UsageError("one META is enough; what is '%s'?"
                               % arguments[1])
    conf = config.new_config(values.get('config_file'))
    if arguments:
        meta, *disks = arguments[0].split(',')
        config.override(conf, '', 'meta', meta)
        if disks:
            config.override(conf, '', 'disks', disks)
    for key, (group, name) in PLAIN.items():
        if key in values:
            config.override(conf, group, name, values[key])
    for key, (group, keys, flags) in PAIRS.items():
        if key in values:
            _take_pairs(conf, key, group, options.parse_pairs(
                '--' + key, values[key], keys, flags))
    return conf


def _take_pairs(conf, key, group, pairs):
    if key == 'nbd':
        config.override(conf, 'nbd', 'enabled', True)
        if 'path' in pairs and not {'host', 'port'} & set(pairs):
            config.override(conf, 'nbd', 'port', -1)
    if key == 'ioaddr' and 'host' not in pairs:
        raise exits.UsageError('--ioaddr: host= is missing')
    for name, value in pairs.items():
        config.override(conf, group,
                        'destination' if name == 'dst' else name, value)


def launch(settings, build=None, reload=None) -> int:
    """Serve, in the background unless the settings say otherwise.

    :param build: makes a sheep of settings, within the loop; None: a real
        one
    :param reload: reads the settings anew, for SIGHUP
    """
    pidfile = None
    try:
        settings = place.complete(settings)
        if settings.pidfile:
            pidfile = pidfile_module.Pidfile(settings.pidfile)
        place.check_packages(settings)
        place.check_ports(settings)
        place.check_access(settings)
        place.check_directories(settings)
        upgrade.check(settings)
        place.check_certificates(settings)
        place.check_coordination(settings)
    except exits.Stop as exc:
        print('sheep: %s' % exc, file=sys.stderr)
        if pidfile is not None:
            pidfile.remove()
        return exc.exit_code

    def serve(report):
        return _serve(settings, build or _build, report, pidfile, reload)

    if settings.foreground:
        return serve(background.Report())
    return background.run(
        serve, keep_stdout=settings.log.destination == 'stdout')


def _serve(settings, build, report, pidfile, reload=None) -> int:
    """All of a daemon's life."""
    # numpy's threads would multiply matrices, of which there are none.
    os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')
    linux.keep_freed_memory()
    logs = logs_module.Logs(settings.log)
    if pidfile is not None:
        pidfile.write()
    try:
        # Here and not above, since a fork comes before what they bring.
        import uvloop
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(Daemon(settings, build, report, logs,
                                     reload).run())
    except Exception as exc:
        return _give_up(exc, settings, report, logs)
    finally:
        if pidfile is not None:
            pidfile.remove()
        logs.close()


def _give_up(error, settings, report, logs) -> int:
    """Say why, to the log and to whoever started us."""
    code = exits.code_of(error)
    if isinstance(error, (exits.Stop, errors.SheepdogError, OSError)) or (
            hasattr(error, 'exit_code')):
        message = str(error)
        LOG.critical('stopping: %s', message)
        # A store that we may not use has a log that is not ours to write.
        logs.open_if_outside(settings.meta)
    else:
        message = 'internal error: %s: %s' % (type(error).__name__, error)
        LOG.critical('internal error', exc_info=error)
        logs.open_if_there()
    report.failed(message, code)
    return code


def _build(settings):
    """A sheep of the real world. Within the loop."""
    from sheepdog.cmd import production
    return production.build_sheep(settings)


class Daemon:
    """Starts a sheep, reports, waits for its end or for a signal."""

    def __init__(self, settings, build, report, logs, reload=None):
        self._settings = settings
        self._build = build
        self._report = report
        self._logs = logs
        self._reload = reload
        self._sheep = None
        self._signals = 0
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        """The exit code.

        :raises Exception: it could not start
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        LOG.info('sheep %s starts: store %s, port %d, process %d',
                 version.release(), self._settings.meta, self._settings.port,
                 os.getpid())
        if self._settings.upgrade and not await self._unless_stopped(
                upgrade.finish(self._settings)):
            raise exits.Stop('stopped by a signal while it took over the '
                             'old store')
        sheep = self._sheep = self._build(self._settings)
        try:
            started = await self._unless_stopped(sheep.start())
        except BaseException:
            await self._stop(sheep)
            raise
        if not started:
            await self._stop(sheep)
            raise exits.Stop('stopped by a signal while it was starting')
        self._logs.open()
        self._report.ready()
        LOG.info('serving')
        ended = loop.create_task(sheep.wait_stopped())
        await self._unless_stopped(asyncio.shield(ended))
        if ended.done():
            code = ended.result()
            LOG.info('stopped, exit code %d', code)
            return code
        await self._stop(sheep)
        ended.cancel()
        LOG.info('stopped')
        return exits.OK

    async def _unless_stopped(self, waitable) -> bool:
        """Wait, unless a signal comes first: then False, and it is
        cancelled."""
        task = asyncio.ensure_future(waitable)
        stop = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait((task, stop),
                           return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if task.done():
            task.result()
            return True
        task.cancel()
        await asyncio.wait((task,), timeout=STOP_SECONDS_MAX)
        return False

    async def _stop(self, sheep):
        try:
            await asyncio.wait_for(sheep.stop(), STOP_SECONDS_MAX)
        except asyncio.TimeoutError:
            LOG.error('the stop took more than %d s: cut short',
                      STOP_SECONDS_MAX)

    def _on_signal(self, number):
        self._signals += 1
        if self._signals > 1:
            LOG.error('%s again: stopping at once',
                      signal.Signals(number).name)
            os._exit(exits.FAILED)
        LOG.info('%s: stopping', signal.Signals(number).name)
        self._stopping.set()

    def _on_hangup(self):
        self._logs.reopen()
        LOG.info('the log was opened anew')
        if self._reload is None:
            return
        try:
            settings = self._reload()
        except config.ConfigRefused as exc:
            LOG.error('the configuration is not taken over: %s', exc)
            return
        logs_module.set_levels(settings.log.level, settings.log.loggers)
        if self._sheep is not None:
            self._sheep.reload(settings)
        LOG.info('the configuration was read anew')


if __name__ == '__main__':
    sys.exit(main())
