// Points and keys over time: remove, hold, gc, verify, repair, copy, key.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { seededRandom } from '@coffer/base';
import { type Backup, PASSPHRASE, Sandbox } from './testing/sandbox.ts';
import { snapshot } from './testing/snapshot.ts';

const MIB = 1024 * 1024;
const random = seededRandom(17);

async function protect(sandbox: Sandbox, source: string, item = 'i'): Promise<string> {
  return (await sandbox.json<Backup>(['backup', source, '--item', item])).point;
}

function objects(sandbox: Sandbox, kind: string): string[] {
  const names = readdirSync(sandbox.path('repo', kind), { recursive: true }) as string[];
  return names
    .map((name) => sandbox.path('repo', kind, name))
    .filter((path) => statSync(path).isFile());
}

test('removed points are gone, held ones stay', async () => {
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source({ a: '1' });
  const points = [
    await protect(sandbox, source),
    await protect(sandbox, source),
    await protect(sandbox, source),
  ];
  await sandbox.done('hold', points[0]!);
  await sandbox.done('hold', points[0]!);
  await sandbox.fails(['remove', points[1]!, points[0]!], 'point-held', 12);
  await sandbox.done('remove', points[1]!, '--dry-run');
  const listed = async (): Promise<string[]> =>
    (await sandbox.json<{ point: string }[]>(['points'])).map(({ point }) => point);
  assert.equal((await listed()).length, 3, 'nothing was removed yet');
  const { removed } = await sandbox.json<{ removed: { point: string }[] }>([
    'remove',
    points[1]!,
    points[2]!,
  ]);
  assert.deepEqual(
    removed.map(({ point }) => point),
    points.slice(1),
  );
  assert.deepEqual(await listed(), [points[0]]);
  await sandbox.done('release', points[0]!);
  await sandbox.done('remove', points[0]!);
  assert.deepEqual(await listed(), []);
});

interface ListedPoint {
  readonly point: string;
  readonly held: boolean;
  readonly holds: readonly { holder: string; reason: string; until?: string }[];
  readonly deleted?: { at: string; until: string; by: string };
}

test('a point is held by holders, each for a reason and a time', async () => {
  using sandbox = await Sandbox.withRepository();
  const point = await protect(sandbox, sandbox.source({ a: '1' }));
  await sandbox.done('hold', point, '--reason', 'audit');
  await sandbox.done('hold', point, '--as', 'standby', '--until', '2999-12-31T00:00:00Z');
  const [listed] = await sandbox.json<ListedPoint[]>(['points']);
  assert.deepEqual(
    listed?.holds.map(({ holder, reason, until }) => [holder, reason, until]),
    [
      ['person', 'audit', undefined],
      ['standby', '', '2999-12-31T00:00:00.000Z'],
    ],
  );
  await sandbox.done('hold', point, '--reason', 'another audit');
  await sandbox.done('release', point, '--as', 'standby');
  const { holders } = await sandbox.json<{ holders: string[] }>(['release', point, '--as', 'none']);
  assert.deepEqual(holders, ['person']);
  await sandbox.fails(['remove', point], 'point-held', 12);
  await sandbox.fails(['remove', point, '--keep-for', '3'], 'point-held', 12);
  await sandbox.done('release', point);
  await sandbox.done('remove', point);
  for (const words of [
    ['--as', 'A person'],
    ['--until', 'never'],
    ['--until', '2001-01-01'],
  ]) {
    const other = await protect(sandbox, sandbox.source({ a: '1' }));
    await sandbox.fails(['hold', other, ...words], 'usage', 2);
  }
});

test('a point that is removed for a while comes back, or goes with the gc after it', async () => {
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source({ a: random.bytes(MIB) });
  const first = await protect(sandbox, source);
  const second = await protect(sandbox, source);
  await sandbox.done('remove', second, '--keep-for', '14');
  const listed = async (...words: string[]): Promise<string[]> =>
    (await sandbox.json<ListedPoint[]>(['points', ...words])).map(({ point }) => point);
  assert.deepEqual([await listed(), await listed('--deleted')], [[first], [second]]);
  await sandbox.fails(['ls', second], 'point-not-found', 12);
  await sandbox.fails(['undelete', first], 'point-not-found', 12);
  await sandbox.done('gc');
  await sandbox.done('undelete', 'i@latest');
  assert.deepEqual([await listed(), await listed('--deleted')], [[first, second], []]);
  await sandbox.done('restore', second, '--to', sandbox.path('back'), '--verify');
  await sandbox.done('remove', second, first, '--keep-for', '0');
  const { pointsPurged } = await sandbox.json<{ pointsPurged: string[] }>(['gc', '--dry-run']);
  assert.deepEqual(pointsPurged, [first, second]);
  assert.equal((await listed('--deleted')).length, 2);
  await sandbox.done('remove', first);
  const gone = await sandbox.json<{ pointsPurged: string[]; bytesFreed: number }>(['gc']);
  assert.deepEqual([gone.pointsPurged, gone.bytesFreed > MIB], [[second], true]);
  assert.deepEqual([await listed(), await listed('--deleted')], [[], []]);
});

test('gc frees what no point needs, and nothing else', async () => {
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source({ keep: random.bytes(3 * MIB) });
  const kept = await protect(sandbox, source);
  const gone = random.bytes(6 * MIB);
  writeFileSync(join(source, 'gone'), gone);
  const removed = await protect(sandbox, source);
  rmSync(join(source, 'gone'));
  await sandbox.done('remove', removed);
  const plan = await sandbox.json<{ outcome: string; plan: { bytesFreed: number } }>([
    'gc',
    '--dry-run',
  ]);
  assert.ok(plan.plan.bytesFreed >= 6 * MIB);
  const { outcome, bytesFreed } = await sandbox.json<{ outcome: string; bytesFreed: number }>([
    'gc',
  ]);
  assert.deepEqual([outcome, bytesFreed >= 6 * MIB], ['done', true]);
  await sandbox.done('verify', '--read-data');
  // What was freed is stored again when it is met again, whatever the cache remembers.
  writeFileSync(join(source, 'other'), random.bytes(5 * MIB));
  await protect(sandbox, source);
  writeFileSync(join(source, 'gone'), gone);
  const again = await protect(sandbox, source);
  const target = sandbox.path('restored');
  await sandbox.done('restore', again, '--to', target, '--verify');
  assert.deepEqual(snapshot(target), snapshot(source));
  await sandbox.done('restore', kept, '--to', sandbox.path('old'), '--verify');
});

test('the first pack of a repository is not mistaken for the second', async () => {
  using sandbox = await Sandbox.withRepository();
  const first = await protect(sandbox, sandbox.source());
  sandbox.source({ a: 'b' });
  await protect(sandbox, sandbox.source());
  await sandbox.done('restore', first, '--to', sandbox.path('empty'));
  await sandbox.done('verify');
});

test('damage is found, named, and repair drops exactly that', async () => {
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source({ good: random.bytes(2 * MIB) });
  const good = await protect(sandbox, source, 'good');
  const before = new Set(objects(sandbox, 'packs'));
  writeFileSync(join(source, 'bad'), random.bytes(2 * MIB));
  const bad = await protect(sandbox, source, 'bad');
  const packs = objects(sandbox, 'packs').filter((path) => !before.has(path));
  const large = packs.find((path) => statSync(path).size > MIB)!;
  const bytes = readFileSync(large);
  bytes[MIB] = bytes[MIB]! ^ 0x10;
  writeFileSync(large, bytes);
  await sandbox.done('verify');
  const found = await sandbox.json<{ pointsDamaged: string[]; findings: unknown[] }>(
    ['verify', '--read-data'],
    20,
  );
  assert.deepEqual(found.pointsDamaged, [bad]);
  const error = await sandbox.fails(
    ['restore', bad, '--to', sandbox.path('bad')],
    'chunk-damaged',
    20,
  );
  assert.match(error.message, /item: bad/);
  assert.match(error.message, /chunk: [0-9a-f]{64}/);
  assert.deepEqual(readdirSync(sandbox.path('bad')), ['good'], 'no wrong data, all of the rest');
  await sandbox.done('verify', good, '--read-data');
  await sandbox.done('restore', good, '--to', sandbox.path('good'), '--verify');
  const repaired = await sandbox.json<{ chunksLost: number; packsDropped: number }>(['repair'], 20);
  assert.deepEqual([repaired.chunksLost, repaired.packsDropped], [1, 1]);
  // The source has it still: the next backup makes the damaged point whole again.
  await sandbox.json<Backup>(['backup', source, '--item', 'bad', '--parent', 'none']);
  await sandbox.done('verify', '--read-data');
  await sandbox.done('restore', bad, '--to', sandbox.path('whole'), '--verify');
});

test('a lost index is made anew from the packs', async () => {
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source({ a: random.bytes(MIB), 'b/c': 'c' });
  const point = await protect(sandbox, source);
  for (const path of objects(sandbox, 'index')) rmSync(path);
  rmSync(sandbox.path('cache'), { recursive: true });
  await sandbox.fails(['restore', point, '--to', sandbox.path('none')], 'chunk-missing', 20);
  await sandbox.done('repair', '--rebuild-index');
  await sandbox.done('restore', point, '--to', sandbox.path('restored'), '--verify');
  assert.deepEqual(snapshot(sandbox.path('restored')), snapshot(source));
});

test('truncated objects are told as damage, each', async () => {
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source({ a: random.bytes(MIB) });
  const point = await protect(sandbox, source);
  await sandbox.done('hold', point);
  const cases: [kind: string, words: string[], code: string, exit: number][] = [
    ['packs', ['restore', point, '--to', 'out'], 'chunk-missing', 20],
    ['points', ['restore', point, '--to', 'out'], 'object-damaged', 20],
    ['keys', ['ls', point], 'object-damaged', 20],
  ];
  for (const [kind, words, code, exit] of cases) {
    const saved = objects(sandbox, kind).map((path) => [path, readFileSync(path)] as const);
    for (const [path, bytes] of saved) truncateSync(path, Math.floor(bytes.length / 2));
    // A record of a point that is in the cache is read from there.
    rmSync(sandbox.path('cache'), { recursive: true, force: true });
    await sandbox.fails(words, code, exit);
    for (const [path, bytes] of saved) writeFileSync(path, bytes);
    rmSync(sandbox.path('out'), { recursive: true, force: true });
  }
  const [listed] = objects(sandbox, 'points');
  const record = readFileSync(listed!);
  truncateSync(listed!, 10);
  const points = await sandbox.run(['points', '--json']);
  assert.deepEqual([points.code, JSON.parse(points.stdout.toString())], [3, []]);
  writeFileSync(listed!, record);
  for (const size of [0, 40]) {
    truncateSync(sandbox.path('repo/config'), size);
    assert.equal((await sandbox.json<unknown[]>(['points'])).length, 1, 'its copy is read');
  }
  const { findings } = await sandbox.json<{ findings: { subject: { name: string } }[] }>(
    ['verify'],
    3,
  );
  assert.deepEqual(
    findings.map(({ subject }) => subject.name),
    ['config'],
  );
  const doctor = await sandbox.json<{ checks: { check: string; status: string }[] }>(['doctor'], 1);
  assert.equal(doctor.checks.find(({ check }) => check === 'config')?.status, 'failure');
  await sandbox.json(['repair'], 3);
  await sandbox.json(['verify']);
  for (const name of ['config', 'config-copy']) truncateSync(sandbox.path(`repo/${name}`), 40);
  await sandbox.fails(['points'], 'object-damaged', 20);
});

test('points are copied, sealed as they are where the keys are the same', async () => {
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source({ a: random.bytes(2 * MIB), 'b/c': 'c' });
  const point = await protect(sandbox, source);
  await protect(sandbox, source, 'other');
  const [from, same, apart] = [sandbox.path('repo'), sandbox.path('same'), sandbox.path('apart')];
  const noKey = { env: { COFFER_PASSPHRASE: undefined } };
  const init = await sandbox.run(['init', '--repo', same, '--keys-from', from], noKey);
  assert.equal(init.code, 0, init.stderr);
  const copy = ['copy', '--from', from, '--to', same];
  interface Copied {
    readonly pointsCopied: string[];
    readonly pointsPresent: number;
    readonly sealedAsTheyAre: boolean;
  }
  const one = await sandbox.json<Copied>([...copy, '--point', point], 0, noKey);
  assert.deepEqual([one.pointsCopied, one.sealedAsTheyAre], [[point], true]);
  const all = await sandbox.json<Copied>(copy, 0, noKey);
  assert.deepEqual([all.pointsCopied.length, all.pointsPresent], [1, 1]);
  const other = { env: { COFFER_PASSPHRASE: 'another passphrase than that' } };
  assert.equal((await sandbox.run(['init', '--repo', apart], other)).code, 0);
  const anew = ['copy', '--from', from, '--to', apart, '--item', 'i'];
  await sandbox.fails(anew, 'passphrase-wrong', 11);
  const both = { env: { COFFER_TO_PASSPHRASE: other.env.COFFER_PASSPHRASE } };
  const sealed = await sandbox.json<Copied>(anew, 0, both);
  assert.deepEqual([sealed.pointsCopied.length, sealed.sealedAsTheyAre], [1, false]);
  for (const [repo, options] of [
    [same, {}],
    [apart, other],
  ] as const) {
    const target = `${repo}-restored`;
    const words = ['restore', 'i@latest', '--to', target, '--verify', '--repo', repo];
    assert.equal((await sandbox.run(words, options)).code, 0);
    assert.deepEqual(snapshot(target), snapshot(source));
  }
  await sandbox.fails([...copy, '--item', 'nobody'], 'item-not-found', 12, noKey);
  await sandbox.fails(['copy', '--from', from, '--to', from], 'usage', 2);
});

test('passphrases are added and removed, the recovery key is renewed', async () => {
  using sandbox = new Sandbox();
  const first = sandbox.path('first-key');
  await sandbox.done('init', '--recovery-key-file', first);
  assert.equal(statSync(first).mode & 0o777, 0o600);
  await protect(sandbox, sandbox.source({ a: '1' }));
  const opens = async (secret: string): Promise<boolean> =>
    (await sandbox.run(['ls', 'i@latest'], { env: { COFFER_PASSPHRASE: secret } })).code === 0;
  assert.ok(await opens(readFileSync(first, 'utf8').toLowerCase()));
  const second = 'a second passphrase, longer';
  writeFileSync(sandbox.path('second'), `${second}\n`);
  const added = await sandbox.json<{ slot: string }>([
    'key',
    'add',
    '--new-passphrase-file',
    sandbox.path('second'),
    '--label',
    'two',
  ]);
  assert.ok(await opens(second));
  const short = { env: { COFFER_NEW_PASSPHRASE: 'short' } };
  await sandbox.fails(['key', 'add'], 'passphrase-weak', 2, short);
  await sandbox.fails(['key', 'add'], 'passphrase-missing', 11);
  const slots = await sandbox.json<{ slot: string; kind: string; label: string }[]>([
    'key',
    'list',
  ]);
  assert.deepEqual(slots.map(({ kind, label }) => `${kind} ${label}`).sort(), [
    'passphrase first',
    'passphrase two',
    'recovery printed',
  ]);
  const renewed = await sandbox.json<{ recoveryKey: string; removed: string[] }>([
    'key',
    'recovery',
  ]);
  assert.equal(renewed.removed.length, 1);
  assert.deepEqual(
    [await opens(readFileSync(first, 'utf8')), await opens(renewed.recoveryKey)],
    [false, true],
  );
  const taken = ['key', 'recovery', '--recovery-key-file', first];
  await sandbox.fails(taken, 'target-unwritable', 15);
  assert.ok(await opens(renewed.recoveryKey), 'what failed changed nothing');
  const firstSlot = slots.find(({ label }) => label === 'first')!;
  // By what is given, a slot opens that stays.
  const remove = ['key', 'remove', firstSlot.slot.slice(0, 6)];
  await sandbox.fails(remove, 'key-slot-last', 12);
  const withSecond = { env: { COFFER_PASSPHRASE: second } };
  assert.equal((await sandbox.run(remove, withSecond)).code, 0);
  assert.deepEqual([await opens(PASSPHRASE), await opens(second)], [false, true]);
  await sandbox.fails(['key', 'remove', 'ffff'], 'key-slot-not-found', 12, withSecond);
  await sandbox.fails(['key', 'remove', added.slot], 'key-slot-last', 12, withSecond);
});
