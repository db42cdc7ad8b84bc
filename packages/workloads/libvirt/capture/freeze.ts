/**
 * Freezing the file systems of a guest for the moment of a checkpoint, through its agent.
 *
 * Invariant: whoever asked for a freeze asks for the thaw until the guest says that it is thawed, also
 * when the freeze failed or was not answered: it may happen after its time-out.
 */
import { type Clock, CofferError, isCofferError } from '@coffer/base';
import { GuestAgent } from '../agent/guest-agent.ts';
import type { Domain, LibvirtConnection } from '../connection.ts';

/** Of the agent's own hooks, too. Windows lets its applications rest for no longer. */
const FREEZE_TIMEOUT_SECONDS = 10;
const THAW_TIMEOUT_SECONDS = 5;
/** An agent that died while all was frozen comes back when the watchdog has thawed. */
const GIVE_UP_MS = 120_000;
const THAW_DELAY_MS = 500;
/** Beyond the time of a watchdog, on a slow guest. */
const WATCHDOG_MARGIN_MS = 5000;

export interface FreezeTarget {
  readonly connection: LibvirtConnection;
  readonly domain: Domain;
  readonly clock: Clock;
  /** When a watchdog thaws the guest, where one runs in it. */
  readonly selfThawsAt?: number | undefined;
}

export interface Frozen {
  /** How many file systems. */
  readonly count: number;
  readonly frozenAt: number;
}

/** Undefined, with the reason, when the guest cannot be frozen; it is thawed then. */
export async function freeze(target: FreezeTarget): Promise<Frozen | { readonly reason: string }> {
  const { connection, domain, clock } = target;
  try {
    // Without it, libvirt waits for ever.
    await connection.agentResponseTimeout(domain, FREEZE_TIMEOUT_SECONDS);
    const frozenAt = clock.now();
    const count = await connection.freeze(domain);
    return { count, frozenAt };
  } catch (error) {
    if (!isCofferError(error)) throw error;
    // Hooks may have run and file systems may be frozen all the same.
    await thaw(target);
    return { reason: String(error.details['said'] ?? error.message) };
  }
}

export interface Thawed {
  /** How many file systems were frozen still: fewer than before when something else thawed them. */
  readonly count: number;
  readonly thawedAt: number;
}

/**
 * Thaws the guest. Fails with `agent-unavailable` when the guest has not said for long that it is
 * thawed. An agent that does not answer at all (libvirt 9 may lose one that died within a command for
 * good) is waited for only until the watchdog has thawed.
 */
export async function thaw(target: FreezeTarget): Promise<Thawed> {
  const { connection, domain, clock, selfThawsAt = Infinity } = target;
  const agent = new GuestAgent(connection, domain, clock);
  let count = 0;
  for (const giveUpAt = clock.now() + GIVE_UP_MS; clock.now() < giveUpAt;) {
    await connection.agentResponseTimeout(domain, THAW_TIMEOUT_SECONDS).catch(ifAgentFailed);
    // It fails, too, when all is thawed and a hook of the agent fails after that.
    count += (await connection.thaw(domain).catch(ifAgentFailed)) ?? 0;
    const thawedAt = clock.now();
    const status = await agent.freezeStatus().catch(ifAgentFailed);
    const isSelfThawed = status === undefined && thawedAt > selfThawsAt + WATCHDOG_MARGIN_MS;
    if (status === 'thawed' || isSelfThawed) return { count, thawedAt };
    await clock.sleep(THAW_DELAY_MS);
  }
  throw new CofferError('agent-unavailable', {
    vm: domain.name,
    reason: 'its file systems are frozen and its agent does not thaw them; reset the machine',
  });
}

/** What the agent does not answer now, it may answer later. */
export function ifAgentFailed(error: unknown): undefined {
  if (!isCofferError(error)) throw error;
}
