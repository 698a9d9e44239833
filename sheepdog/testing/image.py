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

"""What a simulated disk remembers: with power, and without.

A file's pages are what the page cache shows. Beside them stands what the
device holds for sure, and, per page, the versions written since: at a power
cut each such page keeps one of them, whole or torn between two at a sector.
Sizes and attributes go back to some moment since the last sync, names one
by one.
"""

import collections
import errno

from sheepdog.model import limits

PAGE = limits.BLOCK_BYTES
SECTOR = limits.SECTOR_BYTES
ZEROES = bytes(PAGE)

VERSIONS_KEPT = 4
"""Of one page since the last sync; older ones are forgotten."""


class Inode:
    """A file: cache, durable content, and what lies in between."""

    def __init__(self, image: 'DiskImage'):
        self.image = image
        self.number = image.next_number()
        self.size = 0
        self.pages = {}
        """Page number → PAGE bytes; a missing one is a hole."""
        self.attributes = {}
        self.reserved_pages = 0
        self.is_linked = False
        self.more_links = 0
        """Names beside the first."""
        self._durable_pages = {}
        self._durable_size = 0
        self._durable_attributes = {}
        self._dirty = {}
        """Page number → [(serial, PAGE bytes or None), …], oldest first."""
        self._lost = {}
        """The same, of pages whose writing failed: clean in the cache's
        eyes, perhaps on the device, perhaps not."""
        self._changes = []
        """(serial, 'size' or an attribute's name, value), oldest first."""
        self._serial = 0

    # The page cache.

    def read(self, size: int, offset: int) -> bytes:
        end = min(offset + size, self.size)
        if end <= offset:
            return b''
        first, start = divmod(offset, PAGE)
        last = (end - 1) // PAGE
        get = self.pages.get
        if first == last:
            page = get(first, ZEROES)
            if start == 0 and end - offset == PAGE:
                return page
            return page[start:start + end - offset]
        data = b''.join([get(number, ZEROES)
                         for number in range(first, last + 1)])
        if start or len(data) != end - offset:
            data = data[start:start + end - offset]
        return data

    def write(self, data, offset: int) -> None:
        """:raises OSError: ENOSPC; what had room is written"""
        end = offset + len(data)
        position = offset
        number, start = divmod(offset, PAGE)
        taken = 0
        while position < end:
            length = min(PAGE - start, end - position)
            piece = data[taken:taken + length]
            if length == PAGE:
                page = bytes(piece)
            else:
                old = self.pages.get(number, ZEROES)
                page = b''.join((old[:start], piece, old[start + length:]))
            self._set_page(number, page)
            position += length
            taken += length
            number += 1
            start = 0
            if position > self.size:
                self._set_size(position)

    def punch(self, offset: int, size: int) -> None:
        end = min(offset + size, self.size)
        while offset < end:
            number, start = divmod(offset, PAGE)
            length = min(PAGE - start, end - offset)
            if length == PAGE or (start == 0 and end == self.size):
                self._set_page(number, None)
            elif number in self.pages:
                old = self.pages[number]
                self._set_page(number, b''.join((
                    old[:start], bytes(length), old[start + length:])))
            offset += length

    def truncate(self, size: int) -> None:
        if size < self.size:
            for number in sorted(self.pages):
                if number * PAGE >= size:
                    self._set_page(number, None)
            number, start = divmod(size, PAGE)
            if start and number in self.pages:
                self._set_page(number, self.pages[number][:start] +
                               bytes(PAGE - start))
        self._set_size(size)

    def reserve(self, size: int) -> None:
        """:raises OSError: ENOSPC"""
        wanted = -(-size // PAGE)
        before = self.allocated_pages()
        old = self.reserved_pages
        self.reserved_pages = max(old, wanted)
        more = self.allocated_pages() - before
        if more > self.image.free_pages():
            self.reserved_pages = old
            raise OSError(errno.ENOSPC, 'no space left on device')
        self.image.used_pages += more
        if size > self.size:
            self._set_size(size)

    def set_attribute(self, name: str, value: bytes) -> None:
        self.attributes[name] = value
        self._changes.append((self._next(), name, value))

    def allocated_pages(self) -> int:
        reserved = self.reserved_pages
        if not reserved:
            return len(self.pages)
        return reserved + sum(1 for number in self.pages
                              if number >= reserved)

    def _next(self) -> int:
        self._serial += 1
        return self._serial

    def _set_page(self, number: int, page) -> None:
        if page is None:
            if number not in self.pages:
                return
            del self.pages[number]
            if number >= self.reserved_pages:
                self.image.used_pages -= 1
        else:
            if number not in self.pages and number >= self.reserved_pages:
                if self.image.free_pages() < 1:
                    raise OSError(errno.ENOSPC, 'no space left on device')
                self.image.used_pages += 1
            self.pages[number] = page
        versions = self._dirty.setdefault(number, [])
        versions.append((self._next(), page))
        if len(versions) > VERSIONS_KEPT:
            del versions[0]

    def _set_size(self, size: int) -> None:
        self.size = size
        self._changes.append((self._next(), 'size', size))

    # The device.

    def position(self) -> int:
        """What is written up to now; for ``make_durable``."""
        return self._serial

    def make_durable(self, position: int) -> None:
        """A sync that began at ``position`` has ended well."""
        for number in list(self._dirty):
            versions = self._dirty[number]
            count = _count(versions, position)
            if count:
                self._set_durable(number, versions[count - 1][1])
                self._lost.pop(number, None)
                if count == len(versions):
                    del self._dirty[number]
                else:
                    del versions[:count]
        count = _count(self._changes, position)
        for _, name, value in self._changes[:count]:
            if name == 'size':
                self._durable_size = value
            else:
                self._durable_attributes[name] = value
        del self._changes[:count]

    def fail_sync(self, position: int) -> None:
        """A sync has failed: what it was to write counts as clean from now
        on, and is on the device or not."""
        for number in list(self._dirty):
            versions = self._dirty[number]
            count = _count(versions, position)
            if count:
                self._lost.setdefault(number, []).extend(versions[:count])
                if count == len(versions):
                    del self._dirty[number]
                else:
                    del versions[:count]

    def _set_durable(self, number: int, page) -> None:
        if page is None:
            self._durable_pages.pop(number, None)
        else:
            self._durable_pages[number] = page

    def lose_power(self, random) -> None:
        """The cache is gone; what the device holds is decided now."""
        unsure = {number: list(versions)
                  for number, versions in self._lost.items()}
        for number, versions in self._dirty.items():
            unsure.setdefault(number, []).extend(versions)
        # Most of it was written back, or hardly any, or something between.
        kept = random.choice((0.1, 0.5, 0.9))
        for number in sorted(unsure):
            pages = [self._durable_pages.get(number, ZEROES)]
            pages += [page or ZEROES for _, page in unsure[number]]
            last = (len(pages) - 1 if random.random() < kept
                    else random.randrange(len(pages)))
            page = pages[last]
            if last and random.random() < 0.25:
                page = _torn(pages[last - 1], page, random)
            self._set_durable(number, None if page == ZEROES else page)
        for _, name, value in self._changes[
                :random.randrange(len(self._changes) + 1)]:
            if name == 'size':
                self._durable_size = value
            else:
                self._durable_attributes[name] = value
        limit = -(-self._durable_size // PAGE)
        self._durable_pages = {
            number: page for number, page in self._durable_pages.items()
            if number < limit}
        self.size = self._durable_size
        self.pages = dict(self._durable_pages)
        self.attributes = dict(self._durable_attributes)
        self._dirty = {}
        self._lost = {}
        self._changes = []

    def is_clean(self) -> bool:
        """The cache and the device agree."""
        return not (self._dirty or self._changes or self._lost)

    def rot(self, number: int, bit: int) -> None:
        """Flip a bit of a page, on the device and in the cache."""
        for pages in self.pages, self._durable_pages:
            if number in pages:
                page = bytearray(pages[number])
                page[bit // 8 % PAGE] ^= 1 << bit % 8
                pages[number] = bytes(page)


def _count(entries: list, position: int) -> int:
    """How many entries, ordered by serial, are not younger."""
    count = 0
    for entry in entries:
        if entry[0] > position:
            break
        count += 1
    return count


def _torn(old: bytes, new: bytes, random) -> bytes:
    """Some sectors of the one, the others of the other."""
    cut = SECTOR * (1 + random.randrange(PAGE // SECTOR - 1))
    if random.random() < 0.5:
        return new[:cut] + old[cut:]
    return old[:cut] + new[cut:]


class Directory:
    """Names: what is seen, what is durable, and the steps in between."""

    def __init__(self):
        self.entries = {}
        self._durable = {}
        self._steps = []
        """[(serial, ((name, target or None to take it away), …)), …]: each
        step happens as a whole."""
        self._serial = 0

    def change(self, *changes) -> None:
        for name, target in changes:
            if target is None:
                self.entries.pop(name, None)
            else:
                self.entries[name] = target
        self._serial += 1
        self._steps.append((self._serial, changes))

    def position(self) -> int:
        return self._serial

    def make_durable(self, position: int) -> None:
        count = _count(self._steps, position)
        for _, changes in self._steps[:count]:
            self._apply(changes)
        del self._steps[:count]

    def lose_power(self, random) -> None:
        for _, changes in self._steps:
            if random.random() < 0.5:
                self._apply(changes)
        self._steps = []
        self.entries = dict(self._durable)

    def _apply(self, changes) -> None:
        for name, target in changes:
            if target is None:
                self._durable.pop(name, None)
            else:
                self._durable[name] = target


class DiskImage:
    """All files of one host, through all its processes and power cuts."""

    def __init__(self, host: str, capacity_bytes: int):
        self.host = host
        self.total_pages = capacity_bytes // PAGE
        self.used_pages = 0
        self.root = Directory()
        self.locks = {}
        self.boots = 1
        self.is_read_only = False
        self.has_attributes = True
        self._numbers = 0
        self._filled_pages = 0

    @property
    def boot_id(self) -> str:
        return '%s-boot-%d' % (self.host, self.boots)

    def next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def free_pages(self) -> int:
        return self.total_pages - self.used_pages

    def fill(self, left: int) -> None:
        """Other people's files take all but ``left`` pages."""
        self.unfill()
        self._filled_pages = max(0, self.free_pages() - left)
        self.used_pages += self._filled_pages

    def unfill(self) -> None:
        self.used_pages -= self._filled_pages
        self._filled_pages = 0

    def lookup(self, path: str):
        """The inode or directory at a path.

        :raises FileNotFoundError: there is none
        """
        place = self.root
        for name in _split(path):
            if not isinstance(place, Directory):
                raise NotADirectoryError(errno.ENOTDIR, path)
            place = place.entries.get(name)
            if place is None:
                raise FileNotFoundError(
                    errno.ENOENT, 'no such file or directory', path)
        return place

    def parent(self, path: str) -> tuple:
        """(the directory that a path's last name is in, that name)."""
        names = _split(path)
        place = self.lookup('/'.join(names[:-1]))
        if not isinstance(place, Directory):
            raise NotADirectoryError(errno.ENOTDIR, path)
        return place, names[-1]

    def directory(self, path: str) -> Directory:
        place = self.lookup(path)
        if not isinstance(place, Directory):
            raise NotADirectoryError(errno.ENOTDIR, path)
        return place

    def unlinked(self, inode: Inode) -> None:
        """It has lost a name; with the last one its space is free (also
        while it is open: close enough)."""
        if inode.more_links:
            inode.more_links -= 1
        elif inode.is_linked:
            inode.is_linked = False
            self.used_pages -= inode.allocated_pages()

    def files(self) -> list:
        """(path, inode) of all files, sorted."""
        found = []

        def visit(directory, prefix):
            for name in sorted(directory.entries):
                place = directory.entries[name]
                if isinstance(place, Directory):
                    visit(place, prefix + '/' + name)
                else:
                    found.append((prefix + '/' + name, place))

        visit(self.root, '')
        return found

    def lose_power(self, random) -> None:
        """Whatever was not synced is decided by ``random``; a new boot."""
        self.boots += 1
        self.locks = {}

        def visit(directory):
            directory.lose_power(random)
            for name in sorted(directory.entries):
                place = directory.entries[name]
                if isinstance(place, Directory):
                    visit(place)
                elif not place.is_clean():
                    place.lose_power(random)

        visit(self.root)
        self.used_pages = self._filled_pages
        names = collections.Counter(
            inode for _, inode in self.files())
        for inode, count in names.items():
            inode.is_linked = True
            inode.more_links = count - 1
            self.used_pages += inode.allocated_pages()


def _split(path: str) -> list:
    return [name for name in path.split('/') if name and name != '.']
