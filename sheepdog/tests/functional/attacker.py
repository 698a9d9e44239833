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

"""A client that does harm, as a program: ``attacker ATTACK HOST PORT KIND``.

It says ``ready`` when it is at work, and goes on until it is killed. KIND is
what the port speaks: native or nbd.
"""

import contextlib
import itertools
import random
import resource
import select
import socket
import sys
import time

from sheepdog.wire import native
from sheepdog.wire import native_client
from sheepdog.wire import nbd
from sheepdog.wire import nbd_client
from sheepdog.wire import nbd_options

CROWD = 10_000
PER_SOURCE = 1000
LONG_BYTES = 16 << 20


def connect(place, source='127.0.0.1', timeout=10.0):
    sock = socket.socket()
    sock.settimeout(timeout)
    sock.bind((source, 0))
    sock.connect(place)
    return sock


def ready():
    print('ready', flush=True)


def garbage(place, kind):
    """Random bytes, over one connection after the other."""
    chance = random.Random(1)
    ready()
    while True:
        with contextlib.suppress(OSError), connect(place) as sock:
            sock.sendall(chance.randbytes(chance.randrange(1, 4096)))


def giants(place, kind):
    """Headers that announce 4 GiB."""
    if kind == 'nbd':
        header = nbd_client.pack_client_flags() + nbd_options.OPTION.pack(
            nbd_options.OPTION_MAGIC, nbd_options.OPT_GO, 0xFFFFFFFF)
    else:
        header = native.REQUEST.pack(
            1, native.WRITE_OBJ, native.FLAG_WRITE, 0, 1, 0xFFFFFFFF, 0, 0,
            0, 0, 0, 0, 0, 0, 0)
    ready()
    while True:
        with contextlib.suppress(OSError), connect(place) as sock:
            sock.sendall(header + bytes(65536))


def halves(place, kind):
    """Long messages without their last byte, over many connections."""
    if kind == 'nbd':
        head = (nbd_client.pack_client_flags() + nbd_client.pack_option(
            nbd_options.OPT_GO, nbd_client.pack_info('vdi')) +
            nbd_client.pack_request(nbd.CMD_WRITE, 1, 0, LONG_BYTES))
    else:
        head = native.REQUEST.pack(
            1, native.WRITE_OBJ, native.FLAG_WRITE, 0, 1, LONG_BYTES, 0, 0,
            0, 0, 0, 0, 0, 0, 0)
    waiting = {}
    for _number in range(100):
        sock = connect(place)
        sock.sendall(head)
        sock.setblocking(False)
        waiting[sock] = LONG_BYTES - 1
    ready()
    # The first half of them stays open, so that what was sent stays there;
    # the others come and go.
    kept = list(waiting)[:50]
    piece = bytes(256 << 10)
    while True:
        _, writable, _ = select.select([], waiting, [], 1.0)
        for sock in writable:
            try:
                waiting[sock] -= sock.send(piece[:waiting[sock]])
            except BlockingIOError:
                continue
            except OSError:
                waiting[sock] = 0
            if not waiting[sock]:
                del waiting[sock]
                if sock not in kept:
                    sock.close()
        if not waiting:
            time.sleep(0.1)


def opcodes(place, kind):
    """Requests that nobody knows, as fast as they are answered."""
    if kind == 'nbd':
        head = nbd_client.pack_client_flags()
        requests = nbd_client.pack_option(77, b'x' * 100) * 100
    else:
        head = b''
        requests = b''.join(native.REQUEST.pack(
            1, opcode, 0, 0, opcode, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
            for opcode in range(0x20, 0x80))
    socks = [connect(place) for _ in range(5)]
    for sock in socks:
        sock.sendall(head)
    ready()
    while True:
        for sock in socks:
            sock.sendall(requests)
            sock.recv(65536)


def deaf(place, kind):
    """Asks for 2 MiB at a time, and takes no answer."""
    if kind == 'nbd':
        head = (nbd_client.pack_client_flags() + nbd_client.pack_option(
            nbd_options.OPT_GO, nbd_client.pack_info('vdi')))
        request = nbd_client.pack_request(nbd.CMD_READ, 1, 0, 2 << 20)
    else:
        head = b''
        request = b''.join(native_client.pack_read_vdis(1))
    socks = []
    for _number in range(10):
        sock = connect(place)
        sock.sendall(head)
        sock.setblocking(False)
        socks.append(sock)
    ready()
    while True:
        for sock in socks:
            with contextlib.suppress(OSError):
                sock.send(request * 100)
        time.sleep(0.05)


def drip(place, kind):
    """One byte at a time."""
    socks = [connect(place) for _ in range(200)]
    ready()
    for byte in itertools.cycle(b'\x01\x02\x00\x00'):
        for sock in socks:
            with contextlib.suppress(OSError):
                sock.send(bytes([byte]))
        time.sleep(1.0)


def crowd(place, kind):
    """Ten thousand connections that say nothing; lost ones come again."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    wanted = min(CROWD, hard - 100)
    socks = []
    while len(socks) < wanted:
        number = len(socks) // PER_SOURCE
        with contextlib.suppress(OSError):
            socks.append(connect(place, '127.0.0.%d' % (2 + number)))
    ready()
    while True:
        time.sleep(1.0)


ATTACKS = {function.__name__: function for function in (
    garbage, giants, halves, opcodes, deaf, drip, crowd)}


if __name__ == '__main__':
    ATTACKS[sys.argv[1]]((sys.argv[2], int(sys.argv[3])), sys.argv[4])
