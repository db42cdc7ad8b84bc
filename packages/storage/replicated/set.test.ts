import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  changeSet,
  countVotes,
  type Decision,
  decodeSet,
  encodeSet,
  majorityOf,
  type SetEvent,
  setName,
  type UnitSet,
  type Vote,
} from './set.ts';

const MIN = 2;
const ME = '1';

/** `a b c` are in sync, `+d` is joining. */
function setOf(text: string, number = 7): UnitSet {
  const words = text.split(' ');
  const joining = words.find((word) => word.startsWith('+'))?.slice(1);
  const members = words.filter((word) => !word.startsWith('+'));
  return {
    number,
    members,
    joining: joining === undefined ? undefined : { unit: joining, by: ME },
  };
}

describe('a set of units', () => {
  const events = ['unit-failed', 'unit-returned', 'unit-equal'] as const;
  // For each set what each event does, for a unit that is a member, is joining, and is neither.
  const table: Record<string, Record<string, readonly [string, string, string]>> = {
    'a b c': {
      a: ['b c', 'unchanged', 'unchanged'],
      b: ['a c', 'unchanged', 'unchanged'],
      d: ['unchanged', 'a b c +d', 'refused'],
    },
    'a b': {
      a: ['refused', 'unchanged', 'unchanged'],
      b: ['refused', 'unchanged', 'unchanged'],
      c: ['unchanged', 'a b +c', 'refused'],
    },
    'a b +c': {
      a: ['refused', 'unchanged', 'unchanged'],
      c: ['a b', 'a b +c', 'a b c'],
      d: ['unchanged', 'refused', 'refused'],
    },
    'a b c +d': {
      b: ['a c +d', 'unchanged', 'unchanged'],
      d: ['a b c', 'a b c +d', 'a b c d'],
      e: ['unchanged', 'refused', 'refused'],
    },
  };
  for (const [before, units] of Object.entries(table)) {
    for (const [unit, answers] of Object.entries(units)) {
      it(`${before}: what becomes of it by ${unit}`, () => {
        answers.forEach((expected, index) => {
          const event: SetEvent = { kind: events[index]!, unit, by: ME };
          const isSet = expected !== 'unchanged' && expected !== 'refused';
          const after = isSet ? setOf(expected, 8) : expected;
          assert.deepEqual(changeSet(setOf(before), event, MIN), after, event.kind);
        });
      });
    }
  }

  it('lets one of two that compare a unit go on', () => {
    const event = { kind: 'unit-equal', unit: 'c', by: 'another' } as const;
    assert.equal(changeSet(setOf('a b +c'), event, MIN), 'refused');
    const again = changeSet(setOf('a b +c'), { ...event, kind: 'unit-returned' }, MIN);
    assert.deepEqual(again, { ...setOf('a b', 8), joining: { unit: 'c', by: 'another' } });
  });

  it('keeps the order of those that stay, and puts who returns last', () => {
    const without = changeSet(setOf('a b c'), { kind: 'unit-failed', unit: 'a' }, MIN);
    assert.deepEqual(without, setOf('b c', 8));
    const joining = changeSet(setOf('b c'), { kind: 'unit-returned', unit: 'a', by: ME }, MIN);
    assert.deepEqual(joining, setOf('b c +a', 8));
    const equal = changeSet(setOf('b c +a'), { kind: 'unit-equal', unit: 'a', by: ME }, MIN);
    assert.deepEqual(equal, setOf('b c a', 8));
  });
});

describe('votes', () => {
  const [x, y, z] = [setOf('a b'), setOf('b c'), setOf('a c')];
  const cases: [readonly Vote[], Decision][] = [
    [[x], { state: 'decided', set: x }],
    [['none'], { state: 'undecided' }],
    [['unknown'], { state: 'open' }],
    [[x, x], { state: 'decided', set: x }],
    [[x, y], { state: 'void' }],
    [[x, 'none'], { state: 'open' }],
    [[x, 'unknown'], { state: 'open' }],
    [['none', 'none'], { state: 'undecided' }],
    [[x, x, 'unknown'], { state: 'decided', set: x }],
    [[x, y, x], { state: 'decided', set: x }],
    [[x, y, z], { state: 'void' }],
    [[x, y, 'none'], { state: 'open' }],
    [[x, y, 'unknown'], { state: 'open' }],
    [[x, 'none', 'none'], { state: 'undecided' }],
    [['none', 'unknown', 'none'], { state: 'undecided' }],
    [['none', 'unknown', 'unknown'], { state: 'open' }],
    [[x, 'none', 'unknown'], { state: 'open' }],
  ];
  for (const [votes, expected] of cases) {
    const shown = votes.map((vote) => (typeof vote === 'string' ? vote : vote.members.join('')));
    it(`${shown.join(', ')}: ${expected.state}`, () => {
      assert.deepEqual(countVotes(votes), expected);
    });
  }

  it('any two majorities have a unit in common', () => {
    for (let count = 1; count <= 9; count++) assert.ok(2 * majorityOf(count) > count);
  });
});

describe('the record of a set', () => {
  it('is read as it was written, in one way only', () => {
    for (const text of ['a', 'a b', 'zone-1 zone-2 +zone-3']) {
      const set = setOf(text);
      assert.deepEqual(decodeSet(encodeSet(set), 7), set);
    }
    assert.equal(setName(12), 'units/set-0000000012');
  });

  it('is none when anything is wrong with it', () => {
    const good = encodeSet(setOf('a b +c'));
    assert.equal(decodeSet(good, 8), undefined);
    const bad = ['', 'x', 'null', '[]', '{}', good.slice(1), good.replace('"a"', '1')];
    bad.push(good.replace('["a","b"]', '[]'), good.replace('"c"', '"../c"'));
    for (const text of bad) assert.equal(decodeSet(text, 7), undefined, text);
  });
});
