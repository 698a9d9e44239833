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

"""dog by a table: command, input, expected output, exit code."""

from concurrent import futures
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time

from sheepdog.cmd.dog import dispatch
from sheepdog.model import errors
from sheepdog.tests.functional import case
from sheepdog.tests.functional import dog_cases
from sheepdog.tests.functional import harness
from sheepdog.tests.unit.cmd import streams

Case = dog_cases.Case
FAILED, SYSTEM, EXISTS, FULL, MISSING, USAGE = 1, 2, 3, 4, 5, 64

NODES = (
    Case('cluster info', '''\
Cluster status: running, auto-recovery enabled

Cluster created at <date>

Epoch Time           Version [Host:Port:V-Nodes,,,]
<time>:<n> <any><n> [<any>]
...
'''),
    Case('cluster info -r', '''\
running, auto-recovery enabled
<n>
<n> <n> [<any>]
...
'''),
    Case('cluster info x', code=USAGE, error='dog: usage: <any>\n'),
    Case('cluster format', code=EXISTS, error='dog: <any>-f<any>\n'),
    Case('cluster format -c 0 -f', code=USAGE, error='dog: <any>\n'),
    Case('cluster format -b tree', code=USAGE,
         error="dog: there is no store 'tree', only plain\n"),
    Case('cluster reweight'),
    Case('cluster check', 'checked the cluster: <any>\nall is well\n'),
    Case('cluster recover disable', 'Cluster recovery: disable\n'),
    Case('cluster recover enable', 'Cluster recovery: enable\n'),
    Case('cluster recover now'),
    Case('cluster recover', code=USAGE, error='...\n'),
    Case('cluster recover often', code=USAGE, error='...\n'),
    Case('cluster alter-copy', code=USAGE, error='dog: <any>-c<any>\n'),
    Case('cluster alter-copy -c 1', code=FAILED,
         error='dog: VDIs <any>-f does it without a question\n'),
    Case('cluster snapshot save a', code=USAGE, error='dog: usage: <any>\n'),
    Case('cluster snapshot save a none://x', code=FAILED,
         error='dog: none://x: <any>\n'),
    Case('cluster snapshot save a memory://c none', code=MISSING,
         error="dog: there is no VDI 'none'\n"),
    Case('cluster snapshot list memory://c',
         'Index\t\tTag\t\tSnapshot Time\n'),
    Case('cluster snapshot save a memory://c'),
    Case('cluster snapshot save a memory://c', code=EXISTS,
         error='dog: <any>a already\n'),
    Case('cluster snapshot save b memory://c -v',
         '0 snapshots, 0 of them saved before; 0 new chunks, 0.0 MB\n'),
    Case('cluster snapshot list memory://c', '''\
Index\t\tTag\t\tSnapshot Time
1\t\ta\t\t<time>
2\t\tb\t\t<time>
'''),
    Case('cluster snapshot list memory://c -r', '1 a <n>\n2 b <n>\n'),
    Case('cluster snapshot list memory://c --json', '[\n...\n]\n'),
    Case('cluster snapshot list memory://d', code=MISSING,
         error='dog: there are no cluster snapshots at memory://d\n'),
    Case('cluster snapshot show a memory://c', '  Name  <any>\n'),
    Case('cluster snapshot show none memory://c', code=MISSING,
         error='dog: there is no cluster snapshot none\n'),
    Case('cluster snapshot load none memory://c', code=MISSING,
         error='dog: there is no cluster snapshot none\n'),
    Case('cluster snapshot load a memory://c none', code=MISSING,
         error="dog: the cluster snapshot a has no VDI 'none'\n"),
    Case('cluster snapshot load a memory://c'),
    Case('cluster snapshot', code=USAGE, error='...\n'),
    Case('node list', '''\
  Id   Host:Port         V-Nodes       Zone
   0   <address><any>\t<n>          <n>
   1   <address><any>\t<n>          <n>
   2   <address><any>\t<n>          <n>
'''),
    Case('node list -r', '0 <address> <n> <n>\n1 <address> <n> <n>\n'
         '2 <address> <n> <n>\n'),
    Case('node info', '''\
Id\tSize\tUsed\tAvail\tUse%
 0\t<size>\t<size>\t<size>\t <any>%
 1\t<size>\t<size>\t<size>\t <any>%
 2\t<size>\t<size>\t<size>\t <any>%
Total\t<size>\t<size>\t<size>\t <any>%

Total virtual image size\t<size>
'''),
    Case('node md info', 'Id\tSize\tUsed\tAvail\tUse%\tPath\n'
         ' 0\t<size>\t<size>\t<size>\t <any>%\t/<any>\n'),
    Case('node md info -A -r', '0 0 <any>\n1 0 <any>\n2 0 <any>\n'),
    Case('node md plug relative', code=USAGE, error='dog: <any>\n'),
    Case('node md unplug /nowhere', code=SYSTEM, error='dog: <any>\n'),
    Case('node stat', 'Request\tActive\tTotal\tWrite\tRead\tRemove\tFlush\t'
         'All WR\tAll RD\nClient\t<any>\nPeer\t<any>\n'),
    Case('node recovery', 'Nodes In Recovery:\n'
         '  Id   Host:Port         V-Nodes       Zone       Progress\n'),
    Case('node recovery info -r'),
    Case('node recovery get-throttle -r', '<n> <n>\n'),
    Case('node recovery set-throttle 2', code=USAGE,
         error='dog: usage: <any>\n'),
    Case('node log level get', 'info\n'),
    Case('node log level list', '...\n'),
    Case('node log level set loud', code=USAGE, error='dog: <any>\n'),
    Case('node vnodes set 0', code=USAGE, error='dog: <any>\n'),
    Case('node kill', code=USAGE, error='dog: which node? <any>\n'),
    Case('node kill 7', code=USAGE, error='dog: there is no node 7\n'),
    Case('node evict 7', code=USAGE, error='dog: <any>\n'),
    Case('node readmit 0', code=USAGE, error='dog: <any>\n'),
    Case('node recovery set-throttle 0 0'),
    Case('node log level set debug'),
    Case('node log level get', 'debug\n'),
    Case('node log level set info'),
    Case('node vnodes set 64', code=USAGE, error='dog: <any>reweight<any>\n'),
    Case('node stat -r', 'Client <any>\nPeer <any>\n'),
    Case('node stat --json', '{\n...\n}\n'),
    Case('node md info -r', '0 <n> <n> <n> <n>% /<any>\n'),
    Case('node info -r', '0 <n> <n> <n> <n>%\n1 <n> <n> <n> <n>%\n'
         '2 <n> <n> <n> <n>%\nTotal <n> <n> <n> <n>% <n>\n'),
    Case('node format', code=USAGE, error='dog: <any>not built yet<any>\n'),
    Case('node list -T -r', '0 <any>\n1 <any>\n2 <any>\n',
         error='Elapsed time: <any> seconds\n'),
    Case('node list -h', 'Usage: dog node list\n...\n'),
    Case('node', code=USAGE, error='Usage: dog COMMAND <any>\n...\n'),
    Case('node -h', 'Usage: dog COMMAND <any>\n...\n'),
    Case('--version', "Sheepdog operators' tool, version <any>\n"),
    Case('node list -p x', code=USAGE, error='dog: -p: <any>\n'),
    Case('cluster info -v', '''\
Cluster status: running, auto-recovery enabled
Cluster store: plain with 3 redundancy policy
Cluster vnodes strategy: auto
Cluster vnode mode: node
Cluster created at <date>

Epoch Time           Version [Host:Port:V-Nodes,,,]
...
'''),
    Case('cluster info --json', '{\n...\n}\n'),
    Case('cluster recover force', code=FAILED,
         error='dog: <any>-f does it without a question\n'),
    Case('cluster alter-copy -c 2 -f', 'VDIs made from now on have 2 copies; '
         '<any>\n'),
    Case('cluster alter-copy -c 3', 'VDIs made from now on have 3 copies; '
         '<any>\n'),
    Case('cluster check -r', '<n> <n> 0 0 0\n'),
    Case('top', '''\
  Id   Host:Port              Read/s  Write/s    RD BW    WR BW   Read ms  \
Write ms  Active  Use%  Recovery
   0   <address> <any> -
   1   <address> <any> -
   2   <address> <any> -
       Total  <any> -
'''),
    Case('top -r', '0 <address> <any>\n1 <address> <any>\n2 <address> <any>\n'
         '-1 all <any>\n'),
    Case('top --json', '{\n...\n}\n'),
    Case('top -d 0', code=USAGE, error='dog: <any>\n'),
    Case('top here', code=USAGE, error='dog: usage: <any>\n'),
    Case('frobnicate', code=USAGE,
         error="dog: there is no command 'dog frobnicate'; see dog --help\n"),
    Case('vdi list --wrong', code=USAGE, error='dog: <any>wrong<any>\n'),
)

VDIS = (
    Case('vdi list', '''\
  Name        Id    Size    Used  Shared    Creation time   VDI id  Copies  \
Tag   Block Size Shift
'''),
    Case('vdi create test 20M'),
    Case('vdi create test 20M', code=EXISTS, error='dog: <any>test<any>\n'),
    Case('vdi create none 0', code=USAGE, error='dog: <any>\n'),
    Case('vdi create none', code=USAGE, error='dog: usage: <any>\n'),
    Case('vdi create none 1M -c 99', code=USAGE, error='dog: <any>\n'),
    Case('vdi create coded 20M -c 2:1'),
    Case('vdi write test', given=b'x' * 4096),
    Case('vdi write coded 4M', given=b'y' * 4096),
    Case('vdi write test 20M', code=FULL, given=b'x', error='dog: <any>\n'),
    Case('vdi write test 21M', code=FAILED, given=b'x', error='dog: <any>\n'),
    Case('vdi read test 0 8', 'x' * 8),
    Case('vdi read test 20M 1', code=FAILED, error='dog: <any>\n'),
    Case('vdi read none', code=MISSING, error='dog: <any>none<any>\n'),
    Case('vdi list test', '''\
  Name        Id    Size    Used  Shared    Creation time   VDI id  Copies  \
Tag   Block Size Shift
  test         0   20 MB  4.0 MB  0.0 MB <time>   <hex>      3\
                22
'''),
    Case('vdi list test -r',
         '= test 0 20971520 4194304 0 <n> 7c2b25 3  22\n'),
    Case('vdi list none', code=MISSING, error='dog: <any>\n'),
    Case('vdi resize test 24M'),
    Case('vdi resize test 20M', code=USAGE, error='dog: <any>shrink<any>; '
         'nothing was ever written beyond that\n'),
    Case('vdi resize test 2M', code=USAGE, error='dog: <any>shrink<any>; 1 of '
         'its objects <any>\n'),
    Case('vdi resize none 20M', code=MISSING, error='dog: <any>\n'),
    Case('vdi check test', 'checked test: <any>\nall is well\n'),
    Case('vdi check test -e -r', '0 0 0 0 0\n'),
    Case('vdi check none', code=MISSING, error='dog: <any>\n'),
    Case('vdi write test 4088 8 -w', given=b'12345678'),
    Case('vdi read test 4084 12', 'xxxx12345678'),
    Case('vdi read test -s tag', code=MISSING, error='dog: <any>tag<any>\n'),
    Case('vdi write none', code=MISSING, error='dog: <any>\n'),
    Case('vdi delete none', code=MISSING, error='dog: <any>\n'),
    Case('vdi delete test -s tag', code=MISSING, error='dog: <any>\n'),
    Case('vdi create test2 1G -z 24 -c 2'),
    Case('vdi list test2 -r', '= test2 0 1073741824 0 0 <n> <hex> 2  24\n'),
    Case('vdi alter-copy test2 -c 3',
         'VDI test2: 3 copies instead of 2; <any>\n'),
    Case('vdi delete test2'),
    Case('vdi create test2 1M -z 12', code=USAGE, error='dog: <any>\n'),
    Case('vdi alter-copy test -c 1', code=FAILED, error='dog: <any>\n'),
    Case('vdi alter-copy test', code=USAGE, error='dog: <any>-c<any>\n'),
    Case('vdi alter-copy none -c 2 -f', code=MISSING, error='dog: <any>\n'),
    Case('vdi lock list',
         '  Name         Id  VDI id  Tag            Owner node(s)\n'),
    Case('vdi lock unlock test -f', code=MISSING, error='dog: <any>\n'),
    Case('vdi lock unlock none -f', code=MISSING, error='dog: <any>\n'),
)

OBJECTS = (
    Case('vdi object location test -i 0', '''\
Looking for the object 007c2b2500000000 (vid 0x7c2b25 idx 0, 3 copies) with \
3 nodes

<address> has the object
<address> has the object
<address> has the object

According to sheepdog algorithm, the object should be located at:
<address> <address> <address>
'''),
    Case('vdi object location test', '''\
Looking for the inode object 0x7c2b25 with 3 nodes

<address> has the object
...
'''),
    Case('vdi object location coded -i 1', '''\
Looking for the object <hex> (vid 0x<hex> idx 1, 2:1 strips) with 3 nodes

<address> has the object (strip <n>)
<address> has the object (strip <n>)
<address> has the object (strip <n>)

According to sheepdog algorithm, the object should be located at:
<address> <address> <address>
'''),
    Case('vdi object location test -i 1', code=MISSING, error='dog: The '
         'inode object 0x7c2b25 idx 1 is not allocated\n'),
    Case('vdi object location test -i 6', code=USAGE, error='dog: <any>\n'),
    Case('vdi object location test -i x', code=USAGE, error='dog: <any>\n'),
    Case('vdi object location none', code=MISSING, error='dog: <any>\n'),
    Case('vdi object location test -s tag', code=MISSING,
         error='dog: <any>tag<any>\n'),
    Case('vdi object location', code=USAGE, error='dog: usage: <any>\n'),
    Case('vdi object map test', 'Index       VID\n00000000   7c2b25\n'),
    Case('vdi object map test -r -i 0', '0 7c2b25\n'),
    Case('vdi object map coded -r', '1 <hex>\n'),
    Case('vdi object map test -i 1', code=MISSING, error='dog: <any>\n'),
    Case('vdi object map none', code=MISSING, error='dog: <any>\n'),
    Case('vdi object dump-inode test -i 0', '%+|\0'),
    Case('vdi object dump-inode test --json', '...\n'),
    Case('vdi object dump-inode none', code=MISSING, error='dog: <any>\n'),
    Case('vdi object', code=USAGE, error='...\n'),
    Case('vdi track test', '''\
Tracking the inode object 0x7c2b25 with 3 nodes

obj 807c2b2500000000 locations at epoch 1, copies = 3
---------------------------------------------------
...
'''),
    Case('vdi track test -i 0', '''\
Tracking the object 007c2b2500000000 (the inode vid 0x7c2b25 idx 0) with \
3 nodes

obj 007c2b2500000000 locations at epoch 1, copies = 3
---------------------------------------------------
...
'''),
    Case('vdi track test -r -o 807c2b2500000000',
         '<n> 3 <address> <address> <address>\n...\n'),
    Case('vdi track test -i 1', code=MISSING, error='dog: <any>\n'),
    Case('vdi track test -i 1 -o 1', code=USAGE, error='dog: <any>\n'),
    Case('vdi track test -o x', code=USAGE, error='dog: <any>\n'),
    Case('vdi track none', code=MISSING, error='dog: <any>\n'),
)

BACKUP = (
    Case('vdi backup test', code=USAGE, error='dog: <any>-s<any>\n'),
    Case('vdi backup', code=USAGE, error='dog: usage: <any>\n'),
    Case('vdi backup none -s 1', code=MISSING, error='dog: <any>none<any>\n'),
    Case('vdi backup test -s none', code=MISSING,
         error='dog: <any>none<any>\n'),
    Case('vdi snapshot test -s b1'),
    Case('vdi backup test -s b1 -F none', code=MISSING,
         error='dog: <any>none<any>\n'),
    Case('vdi restore test2', code=FAILED, given=b'not one',
         error='dog: <any>cut off<any>\n'),
    Case('vdi restore test2', code=FAILED, given=b'not one of ours',
         error='dog: <any>\n'),
    Case('vdi restore test2', code=FAILED, given=b'z' * 400,
         error='dog: <any>no backup of a VDI\n'),
    Case('vdi restore', code=USAGE, error='dog: usage: <any>\n'),
    Case('vdi list test2', code=MISSING, error='dog: <any>\n'),
    Case('vdi delete test -s b1'),
)

ATTRIBUTES = (
    Case('vdi setattr test key value'),
    Case('vdi getattr test key', 'value'),
    Case('vdi getattr test key --json', '{\n  "value": "value"\n}\n'),
    Case('vdi setattr test key -x other', code=EXISTS,
         error="dog: the attribute 'key' already exists\n"),
    Case('vdi setattr test key', given=b'line\nline'),
    Case('vdi getattr test key', 'line\nline'),
    Case('vdi setattr test key', code=USAGE, given=b'x' * 65537,
         error='dog: <any>65536<any>\n'),
    Case('vdi setattr test key -d'),
    Case('vdi setattr test key -d', code=MISSING,
         error="dog: the attribute 'key' is not found\n"),
    Case('vdi getattr test key', code=MISSING,
         error="dog: the attribute 'key' is not found\n"),
    Case('vdi setattr test lock -x me'),
    Case('vdi snapshot test -s s1'),
    Case('vdi getattr test lock', 'me'),
    Case('vdi rollback test -s s1 -f'),
    Case('vdi getattr test lock', 'me'),
    Case('vdi delete test -s s1'),
    Case('vdi getattr test lock', 'me'),
    Case('vdi setattr test ' + 'k' * 256 + ' v', code=USAGE,
         error='dog: <any>255<any>\n'),
    Case('vdi setattr test key -d value', code=USAGE, error='dog: <any>\n'),
    Case('vdi setattr test key -dx', code=USAGE, error='dog: <any>\n'),
    Case('vdi setattr none key value', code=MISSING, error='dog: <any>\n'),
    Case('vdi getattr none key', code=MISSING, error='dog: <any>\n'),
    Case('vdi setattr test', code=USAGE, error='dog: usage: <any>\n'),
    Case('vdi getattr test', code=USAGE, error='dog: usage: <any>\n'),
)

QOS = (
    Case('vdi qos show', '  Name         Limit       Rate/s     Burst   '
         'Waiting  Delayed\n'),
    Case('vdi qos set test iops=500:1000 write-bytes=20M'),
    Case('vdi qos show', """\
  Name         Limit       Rate/s     Burst   Waiting  Delayed
  test         iops            500     1000        0        0
  test         write-bytes   20 MB        -        0        0
"""),
    Case('vdi qos set test iops=none read-iops=7'),
    Case('vdi qos show test -r', 'test read-iops 7 0 0 0\n'
         'test write-bytes 20971520 0 0 0\n'),
    Case('vdi qos show test --json', '[\n...\n]\n'),
    Case('vdi qos clear test'),
    Case('vdi qos show test -r'),
    Case('vdi qos set test iops=0', code=USAGE, error='dog: <any>\n'),
    Case('vdi qos set test ops=5', code=USAGE, error='dog: <any>\n'),
    Case('vdi qos set test bytes=1', code=USAGE, error='dog: <any>65536'
         '<any>\n'),
    Case('vdi qos set test', code=USAGE, error='dog: usage: <any>\n'),
    Case('vdi qos set none iops=5', code=MISSING, error='dog: <any>\n'),
    Case('vdi qos show none', code=MISSING, error='dog: <any>\n'),
    Case('vdi qos clear none', code=MISSING, error='dog: <any>\n'),
    Case('vdi qos clear', code=USAGE, error='dog: usage: <any>\n'),
)

BENCHMARK = (
    Case('benchmark io test -t 1', '''\
random reads of 4096 bytes, 16 at once, for <any> s
<n> requests/s, <size>/s
latency: mean <any> ms, median <any> ms, 99 % below <any> ms, longest <any> ms
'''),
    Case('benchmark io test -t 1 -r -l -b 64K -q 2',
         'read sequential 65536 2 <any>\n'),
    Case('vdi read test 0 8', 'x' * 8),
    Case('benchmark io test -w', code=FAILED, error='dog: This overwrites '
         'the data of VDI test. Nothing was done: <any>\n'),
    Case('benchmark io test -wf -t 1 --json', '{\n...\n}\n'),
    Case('benchmark io none', code=MISSING, error='dog: <any>\n'),
    Case('benchmark io none -w', code=MISSING, error='dog: <any>\n'),
    Case('benchmark io test -d', code=USAGE, error='dog: <any>\n'),
    Case('benchmark io test -b 100', code=USAGE, error='dog: <any>\n'),
    Case('benchmark io test -q 0', code=USAGE, error='dog: <any>\n'),
    Case('benchmark io test -t 0', code=USAGE, error='dog: <any>\n'),
    Case('benchmark io', code=USAGE, error='dog: usage: <any>\n'),
)

SNAPSHOTS = (
    Case('vdi create snap 20M'),
    Case('vdi write snap 0 8', given=b'original'),
    Case('vdi snapshot snap -s s1'),
    Case('vdi snapshot snap -s s1', code=EXISTS, error='dog: <any>s1<any>\n'),
    Case('vdi snapshot snap -s s2 -R'),
    Case('vdi snapshot snap -s 7', code=USAGE, error='dog: <any>\n'),
    Case('vdi snapshot none -s s1', code=MISSING, error='dog: <any>\n'),
    Case('vdi snapshot', code=USAGE, error='dog: usage: <any>\n'),
    Case('vdi create snap-too 20M'),
    Case('vdi snapshot snap-too snap -s s1', code=EXISTS,
         error='dog: <any>s1<any>\n'),
    Case('vdi snapshot snap-too snap-too -s g1', code=USAGE,
         error='dog: <any>\n'),
    Case('vdi snapshot snap-too none -s g1', code=MISSING,
         error='dog: <any>none<any>\n'),
    Case('vdi snapshot snap-too snap -s g1'),
    Case('vdi read snap 0 8 -s g1', 'original'),
    Case('vdi delete snap -s g1'),
    Case('vdi delete snap-too -s g1'),
    Case('vdi delete snap-too'),
    Case('vdi write snap 0 8', given=b'changed!'),
    Case('vdi read snap 0 8', 'changed!'),
    Case('vdi read snap 0 8 -s s1', 'original'),
    Case('vdi read snap 0 8 -s 1', 'original'),
    Case('vdi read snap 0 8 -s s2', code=MISSING, error='dog: <any>\n'),
    Case('vdi clone snap copy', code=USAGE, error='dog: <any>-s<any>\n'),
    Case('vdi clone snap copy -s s1'),
    Case('vdi clone snap copy -s s1', code=EXISTS, error='dog: <any>\n'),
    Case('vdi clone snap own -s s1 -n'),
    Case('vdi clone snap full -s s1 -P'),
    Case('vdi read full 0 8', 'original'),
    Case('vdi list full -r',
         'c full 0 20971520 20971520 0 <n> <hex> 3  22\n'),
    Case('vdi clone snap full -s s1 -P', code=EXISTS, error='dog: <any>\n'),
    Case('vdi read full 0 8', 'original'),
    Case('vdi delete full'),
    Case('vdi create full 10M -P'),
    Case('vdi list full -r',
         '= full 0 10485760 12582912 0 <n> <hex> 3  22\n'),
    Case('vdi check full', 'checked full: <any>\nall is well\n'),
    Case('vdi delete full'),
    Case('vdi clone snap more -s s2', code=MISSING, error='dog: <any>\n'),
    Case('vdi clone none more -s s1', code=MISSING, error='dog: <any>\n'),
    Case('vdi list snap', '''\
  Name        Id    Size    Used  Shared    Creation time   VDI id  Copies  \
Tag   Block Size Shift
s snap         1   20 MB  4.0 MB  0.0 MB <time>   <hex>      3            \
s1  22
  snap         0   20 MB  4.0 MB  0.0 MB <time>   <hex>      3\
                22
'''),
    Case('vdi list copy', '''\
  Name        Id    Size    Used  Shared    Creation time   VDI id  Copies  \
Tag   Block Size Shift
c copy         0   20 MB  0.0 MB  4.0 MB <time>   <hex>      3\
                22
'''),
    Case('vdi list own -r', '= own 0 20971520 4194304 0 <n> <hex> 3  22\n'),
    Case('vdi tree snap', 'snap---[<time>]---(you are here)\n'),
    Case('vdi tree copy', 'copy---(you are here)\n'),
    Case('vdi graph snap', """digraph G {
...
  "0" -> "<hex>";
  "<hex>" [
    group = "snap",
    label = "Name: snap\\nTag:  s1\\nSize: 20 MB<any>"
  ];

  "<hex>" -> "<hex>";
...
}
"""),
    Case('vdi graph --svg', '<svg <any>>\n...\n</svg>\n'),
    Case('vdi graph snap --json', '[\n...\n]\n'),
    Case('vdi graph none', code=MISSING, error='dog: <any>\n'),
    Case('vdi graph snap more', code=USAGE, error='dog: usage: <any>\n'),
    Case('vdi tree none', code=MISSING, error='dog: <any>\n'),
    Case('vdi object map copy -r', '0 <hex>\n'),
    Case('vdi rollback snap -s s1', code=FAILED, error='dog: <any>lost. '
         'Nothing was done: <any>\n'),
    Case('vdi rollback snap -s s1 -f'),
    Case('vdi resize snap 6M', code=USAGE, error='dog: <any>forced<any>\n'),
    Case('vdi resize snap 6M -f'),
    Case('vdi resize snap 20M'),
    Case('vdi read snap 0 8', 'original'),
    Case('vdi rollback snap -s s2 -f', code=MISSING, error='dog: <any>\n'),
    Case('vdi rollback snap -f', code=USAGE, error='dog: <any>\n'),
    Case('vdi read snap 0 8', 'original'),
    Case('vdi delete snap -s s1'),
    Case('vdi delete snap -s s1', code=MISSING, error='dog: <any>\n'),
    Case('vdi read snap 0 8', 'original'),
    Case('vdi read copy 0 8', 'original'),
    Case('vdi read own 0 8', 'original'),
    Case('vdi check copy -e -r', '0 0 0 0 0\n'),
    Case('vdi delete snap'),
    Case('vdi delete own'),
    Case('vdi read copy 0 8', 'original'),
    Case('vdi delete copy'),
)

END = (
    Case('vdi delete test'),
    Case('vdi create test 4M'),
    Case('vdi getattr test lock', code=MISSING, error='dog: <any>\n'),
    Case('vdi delete test'),
    Case('vdi delete test', code=MISSING, error='dog: <any>\n'),
    Case('vdi delete coded'),
    Case('vdi list -r'),
)


class TestDogCases(case.ClusterCase):

    ttl = harness.PATIENT_TTL_SECONDS

    def dog(self, words, given=b''):
        """(exit code, output, what it complains of)."""
        seen = streams.Streams(given)
        code = dispatch.main(
            words.split() + ['-a', self.cluster.sheep[0].address,
                             '--key-file', str(self.cluster.key_file)], seen)
        return code, seen.text, seen.complaint

    def check(self, cases):
        wrong = []
        for one in cases:
            found = dog_cases.differs(one, *self.dog(one.words, one.given))
            if found:
                wrong.append('dog %s: %s' % (one.words, found))
        self.assertEqual([], wrong)

    def test_nodes(self):
        self.check(NODES)

    def test_vdis(self):
        self.check(VDIS + OBJECTS + ATTRIBUTES + QOS + BACKUP + SNAPSHOTS
                   + BENCHMARK + END)

    def test_locks(self):
        self.create('open', 4 << 20)
        with self.cluster.client() as client, client.open('open'):
            self.check((
                Case('vdi lock list', '''\
  Name         Id  VDI id  Tag            Owner node(s)
  open          0  <hex>                 <address>
'''),
                Case('vdi lock list -r', '= open 0 <hex>  <address>\n'),
                Case('vdi delete open', code=FAILED,
                     error='dog: <any>in use<any>\n'),
                Case('vdi lock unlock open', error='dog: <any>\n'),
                Case('vdi lock list -r')))

    def test_the_end(self):
        self.addCleanup(self._discard)
        self.check((
            Case('vdi create old 4M'),
            Case('cluster format -f -c 2', 'using backend plain store\n'),
            Case('vdi list -r')))
        self.cluster.wait_whole()
        self.check((Case('node kill 2'),))
        harness.wait_until(lambda: len(self.cluster.running) == 2,
                           harness.STOP_SECONDS, 'one to go')
        self.cluster.wait_whole()
        self.check((Case('cluster shutdown'),))
        harness.wait_until(lambda: not self.cluster.running,
                           harness.STOP_SECONDS, 'all to go')
        self.check((Case('node list', code=SYSTEM,
                         error='dog: <any>\n'),))

    def test_one_of_many_gets_a_lock(self):
        """…through all the sheep at once."""
        self.create('locked', 4 << 20)
        clients = [sheep.client() for sheep in self.cluster.sheep]
        for client in clients:
            self.addCleanup(client.close)

        def attempt(number):
            try:
                clients[number % 3].vdis.set_attribute(
                    'locked', b'lock', b'%d' % number, exclusive=True)
            except errors.VdiExists:
                return None
            return b'%d' % number

        with futures.ThreadPoolExecutor(12) as pool:
            won = [one for one in pool.map(attempt, range(24)) if one]
        self.assertEqual(1, len(won))
        for client in clients:
            self.assertEqual(won[0], client.vdis.attribute('locked',
                                                           b'lock'))

    def test_a_vdi_that_is_allocated_is_there_as_a_whole_or_not(self):
        harness.take_interrupts(self)
        running = subprocess.Popen(
            [harness.BIN / 'dog', 'vdi', 'create', 'half', '4G', '-P', '-p',
             str(self.cluster.sheep[0].address.rpartition(':')[2]),
             '--key-file', self.cluster.key_file], stderr=subprocess.PIPE,
            text=True)
        self.addCleanup(running.kill)

        def used():
            with self.cluster.client() as client:
                return sum(vdi['used'] for vdi in client.vdis.list('half'))

        harness.wait_until(used, 60, 'objects')
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
        self.assertEqual(130, running.returncode, said)
        with self.cluster.client() as client:
            self.assertEqual([], client.vdis.list('half'))

    def test_top_on_a_terminal(self):
        """It goes on, takes another size, and ends with ^C, with the
        screen as it was."""
        harness.take_interrupts(self)
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        self.resize(ours, 8, 70)
        running = subprocess.Popen(
            [harness.BIN / 'dog', 'top', '-a', self.cluster.sheep[0].address,
             '--key-file', self.cluster.key_file], stdin=theirs,
            stdout=theirs, stderr=theirs, start_new_session=True)
        self.addCleanup(running.wait)
        self.addCleanup(running.kill)
        os.close(theirs)
        self.read_until(ours, b'Total')
        self.resize(ours, 3, 40)
        self.read_until(ours, '… 5 more'.encode())
        running.send_signal(signal.SIGINT)
        self.read_until(ours, b'\x1b[?25h\x1b[?1049l')
        self.assertEqual(0, running.wait(harness.STOP_SECONDS))

    def resize(self, terminal, rows, columns):
        fcntl.ioctl(terminal, termios.TIOCSWINSZ,
                    struct.pack('HHHH', rows, columns, 0, 0))

    def read_until(self, terminal, wanted):
        seen = b''
        deadline = time.monotonic() + harness.STOP_SECONDS
        while wanted not in seen:
            self.assertLess(time.monotonic(), deadline, seen)
            ready, _, _ = select.select([terminal], [], [],
                                        harness.STOP_SECONDS)
            self.assertTrue(ready, seen)
            seen += os.read(terminal, 65536)

    def test_nobody_listens(self):
        seen = streams.Streams()
        code = dispatch.main(['vdi', 'list', '-a', '127.0.0.1', '-p',
                              str(harness.free_port())], seen)
        self.assertEqual((SYSTEM, ''), (code, seen.text))
