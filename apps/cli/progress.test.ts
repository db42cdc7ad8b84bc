import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BarState } from './progress.ts';

function shownOf(...events: Parameters<BarState['take']>[0][]): [string, string, number] {
  const bar = new BarState(0);
  for (const event of events) bar.take(event, 0);
  const { title, summary } = bar.shown(2000);
  return [title, summary, bar.fraction];
}

test('a bar shows the phase, what is done of it, the rate and the time that is left', () => {
  assert.deepEqual(
    shownOf(
      { kind: 'phase', phase: 'read-disks', subject: 'web' },
      { kind: 'total', bytes: 4096, items: 0 },
      { kind: 'done', bytes: 1024, items: 1 },
    ),
    ['reading disks (web)', '1.00 KiB of 4.00 KiB, 512 B/s, 6.0 s left', 0.25],
  );
});

test('what has no bytes is counted', () => {
  assert.deepEqual(
    shownOf(
      { kind: 'phase', phase: 'sweep' },
      { kind: 'total', bytes: 0, items: 4 },
      { kind: 'done', bytes: 0, items: 1 },
    ),
    ['removing packs', '1 of 4, 6.0 s left', 0.25],
  );
});

test('each phase begins at nothing; findings are counted over all', () => {
  const subject = { kind: 'path', name: 'a' } as const;
  assert.deepEqual(
    shownOf(
      { kind: 'total', bytes: 10, items: 0 },
      { kind: 'done', bytes: 10, items: 0 },
      { kind: 'finding', finding: { code: 'changed', subject, details: {} } },
      { kind: 'phase', phase: 'commit' },
    ),
    ['making the point', '2.0 s, 1 findings', 0],
  );
});
