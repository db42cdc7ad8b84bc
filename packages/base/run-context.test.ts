import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CofferError } from './errors.ts';
import type { Finding } from './findings.ts';
import {
  collecting,
  endedBy,
  parting,
  type RunEvent,
  tellDone,
  tellFinding,
  tellPhase,
  tellTotal,
  unstoppable,
  withinPhase,
} from './run-context.ts';
import { testRun } from './testing/run.ts';

const FINDING: Finding = { code: 'changed', subject: { kind: 'path', name: 'a' }, details: {} };

test('what a run finds is told on, and collected', () => {
  const told: RunEvent[] = [];
  const { run, findings } = collecting(testRun({ tell: (event) => told.push(event) }));
  tellPhase(run, 'read-files');
  tellFinding(run, FINDING);
  assert.deepEqual(findings, [FINDING]);
  assert.deepEqual(told, [
    { kind: 'phase', phase: 'read-files', subject: undefined },
    { kind: 'finding', finding: FINDING },
  ]);
});

test('a part of a phase adds to what is done, and to nothing else of it', () => {
  const told: RunEvent[] = [];
  const run = withinPhase(testRun({ tell: (event) => told.push(event) }));
  tellPhase(run, 'restore-disks');
  tellTotal(run, { bytes: 5 });
  tellDone(run, { bytes: 3 });
  assert.deepEqual(told, [{ kind: 'done', bytes: 3, items: 0 }]);
});

test('a run ends with its own signal, and with another one', () => {
  for (const which of [0, 1]) {
    const ends = [new AbortController(), new AbortController()] as const;
    const run = endedBy(testRun({ signal: ends[0].signal }), ends[1].signal);
    assert.equal(run.signal.aborted, false);
    ends[which]!.abort(new CofferError('interrupted'));
    assert.throws(() => run.signal.throwIfAborted(), { code: 'interrupted' });
  }
});

test('a run that was ended has a moment for its last acts, and what cannot stop goes on', () => {
  const end = new AbortController();
  const run = testRun({ signal: end.signal });
  assert.equal(parting(run), run);
  end.abort();
  assert.equal(parting(run).signal.aborted, false);
  assert.equal(unstoppable(run).signal.aborted, false);
});
