/** Runs the moment of a checkpoint as consistently as the guest allows, and says how that was. */
import { rmSync, writeFileSync } from 'node:fs';
import type { Clock } from '@coffer/base';
import type { Consistency, ReachedConsistency } from '../../vm-capture.ts';
import type { Domain, LibvirtConnection } from '../connection.ts';
import { type Frozen, freeze, thaw } from './quiescence.ts';

/** What a machine did before its capture. */
export type Power = 'running' | 'paused' | 'off';

export interface QuiesceOptions {
  readonly connection: LibvirtConnection;
  readonly domain: Domain;
  readonly power: Power;
  readonly hasAgent: boolean;
  readonly demanded: Consistency | 'best';
  /** Here while the guest may be frozen. */
  readonly frozenMark: string;
  readonly clock: Clock;
}

/** Whatever happens in the moment, the guest is thawed after it. */
export async function quiesced(
  options: QuiesceOptions,
  moment: () => Promise<void>,
): Promise<ReachedConsistency> {
  const { power, hasAgent, demanded } = options;
  if (power === 'off') return await unfrozen('off', undefined, moment);
  if (power === 'paused') return await unfrozen('crash', 'the machine is paused', moment);
  if (demanded === 'crash') return await unfrozen('crash', 'as demanded', moment);
  if (!hasAgent) return await unfrozen('crash', 'the machine has no channel of an agent', moment);
  const { connection, domain, clock, frozenMark } = options;
  writeFileSync(frozenMark, '');
  const frozen = await freeze(connection, domain, clock);
  if ('reason' in frozen) {
    rmSync(frozenMark);
    return await unfrozen('crash', frozen.reason, moment);
  }
  return await whileFrozen(options, frozen, moment);
}

async function unfrozen(
  level: 'off' | 'crash',
  reason: string | undefined,
  moment: () => Promise<void>,
): Promise<ReachedConsistency> {
  await moment();
  return { level, reason, frozenMs: 0 };
}

async function whileFrozen(
  { connection, domain, clock, frozenMark }: QuiesceOptions,
  frozen: Frozen,
  moment: () => Promise<void>,
): Promise<ReachedConsistency> {
  let stillFrozen = 0;
  try {
    await moment();
  } finally {
    stillFrozen = await thaw(connection, domain, clock);
    rmSync(frozenMark);
  }
  const frozenMs = clock.now() - frozen.frozenAt;
  if (stillFrozen < frozen.count) {
    const reason = 'the guest was thawed by something else before the checkpoint was made';
    return { level: 'crash', reason, frozenMs };
  }
  return { level: 'file-system', reason: undefined, frozenMs };
}
