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

"""``python -m bench``: see ``--help``."""

import argparse
import json
import pathlib
import re
import shlex
import shutil
import sys
import tempfile
import time

import uvloop

from bench import cluster as cluster_module
from bench import coded
from bench import failover
from bench import flood
from bench import machine
from bench import plan
from bench import recovery
from bench import report
from bench import rows
from bench import soak
from sheepdog.model import errors
from sheepdog.model import sizes


def parse(arguments=None):
    parser = argparse.ArgumentParser(
        prog='python -m bench',
        description='Measures three sheep on this machine.')
    parser.add_argument('--seconds', type=float, default=4.0,
                        help='how long each row is measured (4)')
    parser.add_argument('--warmup', type=float, default=1.0,
                        help='seconds before that (1)')
    parser.add_argument('--size', type=sizes.parse_size, default='256M',
                        help='of the VDIs (256M)')
    parser.add_argument('--only', type=re.compile, default='',
                        metavar='REGEX',
                        help='the rows whose name it is found in; "kill" '
                        'is the part about epoch changes, "recovery" '
                        'that about lost and returning sheep, "coded" '
                        'that about 4:2 beside three copies, "plan" what '
                        'one of a thousand computes when another is lost')
    parser.add_argument('--soak', type=float, default=0.0,
                        metavar='MINUTES',
                        help='no rows: load of all kinds for so long, and '
                        'what the sheep have resident meanwhile')
    parser.add_argument('--kills', type=int, default=3,
                        help='how often a sheep is killed (3)')
    parser.add_argument('--json', type=pathlib.Path,
                        help='where the results go '
                        '(bench-results/DATE-TIME.json)')
    parser.add_argument('--dir', type=pathlib.Path, default='run',
                        help='the sheep store below it (run)')
    parser.add_argument('--sheep-options', type=shlex.split, default='',
                        metavar='OPTIONS',
                        help='further options of sheep, in one word')
    parser.add_argument('--profile', default='', metavar='DIRECTORY',
                        help='run each sheep under cProfile; the numbers '
                        'are not worth much then')
    parser.add_argument('--keep', action='store_true',
                        help='keep what the sheep stored and said')
    return parser.parse_args(arguments)


async def measure_rows(cluster, face, wanted, options, results):
    """All rows of one face, on a VDI of its own."""
    sheep = cluster.sheep[0]
    name = 'bench-' + face
    cluster.create(name, options.size)
    port = sheep.nbd_port if face == 'nbd' else sheep.port
    client = await rows.CLIENTS[face].open(cluster_module.HOST, port, name)
    await client.fill()
    await rows.settle(cluster.pids)
    for row in wanted:
        result = await rows.measure(client, row, cluster.pids,
                                    options.seconds, options.warmup)
        results['rows'].append(result)
        print(report.line(result, results['calibration']), flush=True)
    results['memory']['after ' + face] = memory(cluster)
    await client.close()


async def measure_kills(cluster, options, results):
    name = 'bench-kill'
    cluster.create(name, min(options.size, 64 << 20))
    client = await rows.CLIENTS['native'].open(
        cluster_module.HOST, cluster.sheep[0].port, name)
    await client.fill()
    for turn in range(options.kills):
        victim = cluster.sheep[1 + turn % 2]
        results['kills'].append(await failover.kill_round(
            cluster, client, victim, name))
    await client.close()
    results['stop'] = await failover.stop_round(cluster, cluster.sheep[1],
                                                name)


async def measure_memory(cluster, options, results):
    name = 'bench-soak'
    cluster.create(name, options.size)
    client = await rows.CLIENTS['native'].open(
        cluster_module.HOST, cluster.sheep[0].port, name)
    await client.fill()
    results['soak'] = await soak.run(
        client, cluster.pids, options.soak * 60,
        note=lambda sample: print(report.soak_line(sample), flush=True))
    await client.close()


def measure_recovery(options, directory, results):
    """On a cluster of its own."""
    directory = directory / 'recovery'
    directory.mkdir()
    with cluster_module.Cluster(
            directory, options.sheep_options, count=recovery.SHEEP,
            copies=recovery.COPIES) as cluster:
        cluster.start()
        cluster.form()
        results['recovery'] = uvloop.run(recovery.measure(cluster))


def measure_coded(options, directory, results):
    """On a cluster of its own."""
    directory = directory / 'coded'
    directory.mkdir()

    def note(result):
        print(report.line(result, results['calibration']), flush=True)

    with cluster_module.Cluster(directory, options.sheep_options,
                                options.profile,
                                count=coded.SHEEP) as cluster:
        cluster.start()
        cluster.form()
        cluster.warm_journals()
        results['coded'] = uvloop.run(coded.measure(cluster, options, note))


def measure_plan(results):
    situation = plan.Situation()
    results['plan'] = min((plan.measure(situation) for _ in range(3)),
                          key=lambda times: times['cpu'])


def memory(cluster):
    return [machine.resident_bytes(pid) for pid in cluster.pids]


def run(options, directory, results):
    with cluster_module.Cluster(directory, options.sheep_options,
                                options.profile) as cluster:
        results['first_start'] = cluster.start()
        cluster.form()
        cluster.warm_journals()
        results['memory']['when formatted'] = memory(cluster)
        if options.soak:
            uvloop.run(measure_memory(cluster, options, results))
            return
        print(report.head(), flush=True)
        for face in rows.CLIENTS:
            wanted = [row for row in rows.all_rows()
                      if row.face == face and options.only.search(row.name)]
            if wanted:
                uvloop.run(measure_rows(cluster, face, wanted, options,
                                        results))
        if (options.kills and not options.profile
                and options.only.search('kill')):
            uvloop.run(measure_kills(cluster, options, results))
    if not options.soak and options.only.search('coded'):
        measure_coded(options, directory, results)
    if not options.profile and options.only.search('recovery'):
        measure_recovery(options, directory, results)
    if (not options.profile and not options.soak
            and options.only.search('plan')):
        measure_plan(results)


def main(arguments=None) -> int:
    options = parse(arguments)
    if options.profile:
        pathlib.Path(options.profile).mkdir(parents=True, exist_ok=True)
    options.dir.mkdir(parents=True, exist_ok=True)
    directory = pathlib.Path(tempfile.mkdtemp(
        prefix='bench-', dir=options.dir)).resolve()
    results = {
        'time': time.time(), 'machine': machine.describe(),
        'calibration': machine.calibrate(), 'seconds': options.seconds,
        'size': options.size, 'sheep_options': options.sheep_options,
        'rows': [], 'kills': [], 'stop': {}, 'memory': {},
        'first_start': []}
    code = 0
    try:
        run(options, directory, results)
    except (flood.BenchError, errors.SheepdogError, OSError) as error:
        print('%s: %s' % (type(error).__name__, error), file=sys.stderr)
        code = 1
    if code or options.keep:
        print('the sheep\'s files are in %s' % directory)
    else:
        shutil.rmtree(directory)
    print(report.rest(results))
    results['is_complete'] = not code
    target = options.json or pathlib.Path(
        'bench-results', time.strftime('%Y%m%d-%H%M%S.json'))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(results, indent=1) + '\n')
    print('written to %s' % target)
    return code


if __name__ == '__main__':
    sys.exit(main())
