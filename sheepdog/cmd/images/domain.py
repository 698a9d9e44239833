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

"""A virtual machine's disk moves into a VDI and out, by way of ``virsh``.

The machine must be shut off, and have nothing that its disk must fit (a saved
memory, snapshots of libvirt's own). Its definition is written anew with
another source for that disk only: what else it says stays.
"""

import contextlib
import os
import subprocess
import tempfile
# What is parsed is what libvirt itself has written.
from xml.etree import ElementTree  # nosec B405

from sheepdog.client import nbd_client
from sheepdog.cmd import exits
from sheepdog.cmd.images import qemu
from sheepdog.cmd.images import transfer
from sheepdog.faces.nbd import exports
from sheepdog.model import errors
from sheepdog.model import limits

NBD_SECONDS = 30.0
CALL_SECONDS = 120.0

# Else they would be written as ns0, ns1…: equal, but not what one reads.
for _prefix, _address in (
        ('qemu', 'http://libvirt.org/schemas/domain/qemu/1.0'),
        ('lxc', 'http://libvirt.org/schemas/domain/lxc/1.0'),
        ('xen', 'http://libvirt.org/schemas/domain/xen/1.0')):
    ElementTree.register_namespace(_prefix, _address)


class DomainError(exits.Stop):
    """A domain or its disk is not as it must be; the message says why."""


class NoAnswer(DomainError):
    """What libvirt was asked for may be done yet."""


class Unsure(DomainError):
    """The domain may have its new disk, though it was not said so: what it
    would name must stay."""


class Domain:
    """A domain that is shut off.

    :param uri: of libvirt; '': the one that virsh takes by itself
    :raises DomainError: it is not there, or not at rest
    """

    def __init__(self, name: str, uri: str = ''):
        self.name = name
        self._uri = uri
        self._refuse_unrest()
        self._defined = self._definition()
        self._tree = ElementTree.fromstring(  # nosec B314
            self._defined)

    def disk(self, target: str) -> 'Disk':
        """:param target: its name within the machine, as ``vda``
        :raises DomainError: there is none
        """
        found = {}
        for element in self._tree.iterfind('devices/disk'):
            name = element.find('target')
            found[name.get('dev') if name is not None else ''] = element
        if target not in found:
            raise DomainError('domain %s has no disk %s, but %s' % (
                self.name, target, ', '.join(sorted(found)) or 'none'),
                exits.MISSING)
        return Disk(self.name, target, found[target])

    def define(self) -> None:
        """Have it as its disks are now.

        :raises DomainError: libvirt refuses it, or the domain was started
            or changed since; nothing has changed
        :raises Unsure: something has
        """
        self._refuse_unrest()
        if self._definition() != self._defined:
            raise DomainError('domain %s was changed meanwhile: try again'
                              % self.name)
        with tempfile.NamedTemporaryFile(prefix='sheepdog-domain-') as file:
            ElementTree.ElementTree(self._tree).write(file)
            file.flush()
            try:
                self._virsh('define', '--validate', file.name)
            except BaseException as error:
                # No answer is no refusal: libvirt may have done it.
                self._check_unchanged(error)
                raise

    def _check_unchanged(self, cause):
        try:
            if self._definition() != self._defined:
                state = 'has changed'
            elif isinstance(cause, NoAnswer):
                state = 'may change yet'
            else:
                return
        except DomainError:
            state = 'cannot be read'
        raise Unsure(
            'domain %s: virsh define: %s; the definition %s: see with "virsh '
            'dumpxml" which disk it has, then delete the other one' % (
                self.name, cause or type(cause).__name__, state),
            exits.SYSTEM) from cause

    def _definition(self) -> str:
        # With its secrets: else they would be gone from the new one.
        return self._virsh('dumpxml', '--inactive', '--security-info',
                           self.name)

    def _refuse_unrest(self):
        state = self._virsh('domstate', self.name).strip()
        if state != 'shut off':
            raise DomainError('domain %s is not shut off, but %s: shut it '
                              'down first' % (self.name, state))
        information = dict(
            line.partition(':')[::2] for line
            in self._virsh('dominfo', self.name).splitlines())
        if information.get('Managed save', '').strip() == 'yes':
            raise DomainError(
                'domain %s has a saved state, which its disk must fit: start '
                "and shut it down, or 'virsh managedsave-remove'"
                % self.name)
        snapshots = self._virsh('snapshot-list', '--name', self.name).split()
        if snapshots:
            raise DomainError(
                'domain %s has snapshots (%s), which would not have that '
                "disk any more: 'virsh snapshot-delete' them first"
                % (self.name, ', '.join(snapshots)))

    def _virsh(self, *words) -> str:
        command = ['virsh', '--quiet',
                   *(['--connect', self._uri] if self._uri else []), *words]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, timeout=CALL_SECONDS, text=True,
                env=dict(os.environ, LC_ALL='C.UTF-8'))
        except FileNotFoundError:
            raise DomainError('virsh is not installed: it is in Debian, in '
                              'the package libvirt-clients',
                              exits.SYSTEM) from None
        except subprocess.TimeoutExpired:
            raise NoAnswer('virsh %s: no answer after %d s' % (
                words[0], CALL_SECONDS), exits.SYSTEM) from None
        if done.returncode:
            raise DomainError('domain %s: virsh %s: %s' % (
                self.name, words[0],
                done.stderr.strip().replace('error: ', '')))
        return done.stdout


class Disk:
    """One disk of a domain, as its definition has it."""

    def __init__(self, domain: str, target: str, element):
        self._element = element
        self._name = 'disk %s of domain %s' % (target, domain)
        if element.get('device', 'disk') != 'disk':
            raise DomainError('%s is a %s' % (self._name,
                                              element.get('device')))
        if element.find('.//encryption') is not None:
            raise DomainError('%s is encrypted by libvirt: that cannot be '
                              'moved' % self._name)

    def file(self) -> tuple:
        """(path, format) of the image.

        :raises DomainError: it is no file or block device of this host
        """
        kind = self._element.get('type')
        path = self._source().get({'file': 'file', 'block': 'dev'}.get(
            kind, ''))
        if path is None:
            raise DomainError('%s is no file or block device, but of type %s'
                              % (self._name, kind))
        driver = self._element.find('driver')
        return path, (driver.get('type') if driver is not None
                      else None) or 'raw'

    def vdi(self) -> str:
        """:raises DomainError: it is no VDI"""
        source = self._source()
        if self._element.get('type') != 'network' or (
                source.get('protocol') != 'nbd' or not source.get('name')):
            raise DomainError('%s is no VDI over NBD' % self._name)
        return source.get('name')

    def server(self) -> 'Server':
        """Where the VDI is served, as the definition says.

        :raises DomainError: that is no place that we know
        """
        source = self._source()
        host = source.find('host')
        found = host.attrib if host is not None else {}
        text = found.get('socket') or '%s:%s' % (
            found.get('name', ''), found.get('port', limits.NBD_PORT_DEFAULT))
        try:
            return Server(text, source.get('tls') == 'yes')
        except ValueError as error:
            raise DomainError('%s: %s' % (self._name, error)) from None

    def use_vdi(self, vdi: str, server: 'Server') -> None:
        source = self._renew('network', 'raw')
        source.set('protocol', 'nbd')
        source.set('name', vdi)
        if server.is_tls:
            source.set('tls', 'yes')
        ElementTree.SubElement(source, 'host', server.attributes())

    def use_file(self, path: str, image_format: str) -> None:
        self._renew('file', image_format).set('file', os.path.abspath(path))

    def _source(self):
        source = self._element.find('source')
        if source is None:
            raise DomainError('%s is empty' % self._name)
        return source

    def _renew(self, kind, image_format):
        """A new source for it."""
        element = self._element
        for tag in ('source', 'backingStore', 'mirror', 'auth'):
            for found in element.findall(tag):
                element.remove(found)
        driver = element.find('driver')
        if driver is None:
            driver = ElementTree.Element('driver')
            element.insert(0, driver)
        driver.set('name', 'qemu')
        driver.set('type', image_format)
        # How files are read, and what qcow2 keeps in memory.
        driver.attrib.pop('io', None)
        for found in driver.findall('metadata_cache'):
            driver.remove(found)
        element.set('type', kind)
        source = ElementTree.Element('source')
        element.insert(list(element).index(driver) + 1, source)
        return source


class Server:
    """Where the domain's host reaches NBD: HOST:PORT, or the path of a
    socket.

    :raises ValueError: it is neither
    """

    def __init__(self, text: str, is_tls: bool = False):
        self.is_tls = is_tls
        if text.startswith('/'):
            self._path, self._host, self._port = text, '', 0
        else:
            self._path = ''
            host, _, port = text.rpartition(':')
            if not host or not port.isdecimal() or not (
                    0 < int(port) < 1 << 16):
                raise ValueError('%r is neither HOST:PORT nor the path of a '
                                 'socket' % text)
            self._host, self._port = host.strip('[]'), int(port)

    def attributes(self) -> dict:
        """Of libvirt's ``<host>``."""
        if self._path:
            return {'transport': 'unix', 'socket': self._path}
        return {'name': self._host, 'port': str(self._port)}

    def check(self, vdi: dict) -> None:
        """
        :param vdi: as ``vdis.list`` tells of it
        :raises DomainError: it does not serve that VDI, of that cluster.
            (Under TLS and by IPv6 it is not asked.)
        """
        if self.is_tls or ':' in self._host:
            return
        address = self._path or (self._host, self._port)
        place = self._path or '%s:%d' % address
        try:
            with nbd_client.NbdClient(address, vdi['name'],
                                      NBD_SECONDS) as client:
                served = client.size, client.description
        except (OSError, nbd_client.NbdRefused) as error:
            raise DomainError(
                'VDI %s is not served at %s: %s (import: --nbd says where a '
                'sheep serves NBD)' % (vdi['name'], place, error),
                exits.SYSTEM) from None
        wanted = vdi['size'], exports.description_of(vdi['vdi_id'],
                                                     vdi['created'])
        if served != wanted:
            raise DomainError(
                '%s serves another VDI %s (%d bytes, %s; not %d bytes, %s): '
                'is it of another cluster?' % (
                    place, vdi['name'], *served, *wanted), exits.SYSTEM)


def move_in(client, domain: Domain, target: str, vdi: str, policy: dict,
            server: Server, progress) -> dict:
    """A disk becomes a new VDI; its file stays as it is. Where that fails
    there is no VDI, and the domain is as it was.

    :returns: as ``transfer.import_image``, and ``file``
    :raises SheepdogError, ImageError, DomainError:
    """
    disk = domain.disk(target)
    path, image_format = disk.file()
    made = transfer.import_image(
        client, qemu.look_at(path, image_format), vdi, policy, progress)
    try:
        server.check(made)
        disk.use_vdi(vdi, server)
        domain.define()
    except Unsure:
        raise
    except BaseException:
        transfer.delete(client, vdi)
        raise
    return dict(made, file=path)


def move_out(client, domain: Domain, target: str, path: str,
             image_format: str, progress, force: bool = False) -> dict:
    """A VDI becomes a new file; the VDI stays. Where that fails there is no
    file, or the one that was there before, and the domain is as it was.

    :returns: as ``transfer.export_volume``, and ``vdi``, ``size``
    :raises SheepdogError, ImageError, DomainError:
    """
    disk = domain.disk(target)
    vdi = disk.vdi()
    try:
        volume = client.open(vdi, read_only=True)
    except errors.NoVdi as error:
        if '@' in vdi:
            raise DomainError('%s is a snapshot, and read-only: make a clone '
                              'of it for the domain first' % vdi) from None
        raise DomainError('%s: is it of another cluster?' % error,
                          exits.MISSING) from None
    with volume, _kept(path, force) as kept:
        disk.server().check(_described(client, vdi, volume.vdi_id))
        made = transfer.export_volume(volume, path, image_format, progress,
                                      force)
        try:
            disk.use_file(path, image_format)
            domain.define()
        except Unsure:
            raise
        except BaseException:
            if not kept:
                os.unlink(path)
            raise
    return dict(made, vdi=vdi, size=volume.size)


def _described(client, name, vdi_id):
    for vdi in client.vdis.list(name):
        if vdi['vdi_id'] == vdi_id:
            return vdi
    raise DomainError('VDI %s has just become another one: try again' % name)


@contextlib.contextmanager
def _kept(path, force):
    """What is there comes back if no other one takes its place in the end.
    Yields its name until then; '': nothing is there."""
    kept = '%s.%d.before' % (path, os.getpid())
    if not (force and os.path.lexists(path)):
        yield ''
        return
    try:
        os.link(path, kept, follow_symlinks=False)
    except OSError as error:
        raise DomainError('%s cannot be kept until the new one is in its '
                          'place: %s' % (path, error)) from None
    try:
        yield kept
    except Unsure as error:
        raise Unsure('%s; what was %s before is %s' % (error, path, kept),
                     error.exit_code) from error
    except BaseException:
        os.rename(kept, path)
        _remove(kept)  # Where nothing had come in its place it is still there.
        raise
    _remove(kept)


def _remove(path):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
