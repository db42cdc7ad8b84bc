import assert from 'node:assert/strict';
import { it } from 'node:test';
import { openMemoryStore } from '../memory.ts';
import type { ObjectStore } from '../object-store.ts';
import { failsWith } from '../testing/expectations.ts';
import { SetRegistry } from './registry.ts';
import { encodeSet, setName, type UnitSet } from './set.ts';

const [ALL, AB, BC, AC] = ['a b c', 'a b', 'b c', 'a c'].map((text) => text.split(' '));

function setOf(number: number, members: readonly string[] = ALL!): UnitSet {
  return { number, members, joining: undefined };
}

function units(count = 3): Map<string, ObjectStore> {
  return new Map(ALL!.slice(0, count).map((name) => [name, openMemoryStore()]));
}

async function vote(store: ObjectStore, set: UnitSet): Promise<void> {
  await store.put(setName(set.number), Buffer.from(encodeSet(set)));
}

it('lets one of many proposals at once be decided, the same for all', async () => {
  const shared = units();
  await new SetRegistry(shared).propose(setOf(1));
  const proposals = [AB, BC, AC, AB, BC].map(async (members) => {
    const registry = new SetRegistry(shared);
    await registry.known();
    return await registry.propose(setOf(2, members));
  });
  const decided = await Promise.all(proposals);
  const known = await new SetRegistry(shared).known();
  for (const set of decided) assert.ok(set.number <= known.number);
  const numbers = new Map(decided.map((set) => [set.number, encodeSet(set)]));
  for (const set of decided) assert.equal(encodeSet(set), numbers.get(set.number));
});

it('helps votes of a process that is gone', async () => {
  const shared = units();
  await new SetRegistry(shared).propose(setOf(1));
  await vote(shared.get('b')!, setOf(2, BC));
  const registry = new SetRegistry(shared);
  assert.equal((await registry.known()).number, 1, 'one vote of three decides nothing');
  assert.deepEqual(await registry.propose(setOf(2, AB)), setOf(2, BC));
});

it('goes over a number that nobody can win any more', async () => {
  const shared = units();
  await new SetRegistry(shared).propose(setOf(1));
  const votes = [AB, BC, AC];
  for (const [index, store] of [...shared.values()].entries()) {
    await vote(store, setOf(2, votes[index]));
  }
  const registry = new SetRegistry(shared);
  const first = await registry.known();
  assert.equal(first.number, 1);
  assert.ok(await registry.isCurrent(first));
  assert.deepEqual(await registry.propose(setOf(2, AB)), setOf(3, AB));
});

it('tells nothing where there is no set yet', async () => {
  await failsWith('repository-not-found', new SetRegistry(units()).known());
});

it('knows that another process has decided', async () => {
  const shared = units();
  const one = new SetRegistry(shared);
  await one.propose(setOf(1));
  const other = new SetRegistry(shared);
  const known = await other.known();
  assert.ok(await other.isCurrent(known));
  await one.propose(setOf(2, AB));
  assert.equal(await other.isCurrent(known), false);
  assert.deepEqual(await other.known(), setOf(2, AB));
});
