/**
 * What time it is by the clock that stamps objects. That of a host may be hours wrong, or stand still;
 * how old an object is, only the clock can tell that stamped it.
 */
import { type RunContext, tellFinding } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { probeName } from './leftovers.ts';

/** Where clocks differ by more, somebody should set one. */
const DIFFERENCE_TOLD_MS = 10 * 60_000;

/** What time it is, in ms since 1970. */
export type AskNow = () => Promise<number>;

export interface Timed {
  readonly store: ObjectStore;
  readonly run: RunContext;
}

/** In ms since 1970; a difference to the clock of this host that is of note is told. */
export async function storeNow({ store, run }: Timed): Promise<number> {
  const name = probeName(run.random);
  await store.put(name, Buffer.alloc(0));
  const stored = await store.stat(name);
  await store.delete(name);
  const here = run.clock.now();
  const now = stored?.createdAt ?? here;
  const differenceMs = now - here;
  if (Math.abs(differenceMs) > DIFFERENCE_TOLD_MS) {
    const subject = { kind: 'repository', name: store.location } as const;
    const minutes = Math.round(differenceMs / 60_000);
    tellFinding(run, { code: 'clock-differs', subject, details: { minutes } });
  }
  return now;
}

/** The same, asked once, and only when it is needed. */
export function storeClock(timed: Timed): AskNow {
  let now: Promise<number> | undefined;
  return () => (now ??= storeNow(timed));
}
