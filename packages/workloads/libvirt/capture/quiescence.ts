/**
 * Freezing the file systems of a guest for the moment of a checkpoint, through its agent.
 *
 * Invariant: whoever asked for a freeze asks for the thaw until the guest says that it is thawed, also
 * when the freeze failed or was not answered: it may happen after its time-out.
 */
import { type Clock, CofferError, isCofferError } from '@coffer/base';
import * as v from 'valibot';
import type { Domain, LibvirtConnection } from '../connection.ts';

/** Libvirt waits for ever without it. */
const AGENT_TIMEOUT_SECONDS = 5;
const THAW_ATTEMPTS_MAX = 60;
const THAW_DELAY_MS = 500;

const FreezeStatus = v.object({ return: v.picklist(['thawed', 'frozen']) });

export interface Frozen {
  /** How many file systems. */
  readonly count: number;
  readonly frozenAt: number;
}

/** Undefined, with the reason, when the guest cannot be frozen; it is thawed then. */
export async function freeze(
  connection: LibvirtConnection,
  domain: Domain,
  clock: Clock,
): Promise<Frozen | { readonly reason: string }> {
  try {
    await connection.agentResponseTimeout(domain, AGENT_TIMEOUT_SECONDS);
    const frozenAt = clock.now();
    const count = await connection.freeze(domain);
    return { count, frozenAt };
  } catch (error) {
    if (!isCofferError(error)) throw error;
    // Hooks may have run and file systems may be frozen all the same.
    if (!isCofferError(error, 'agent-unavailable')) await thaw(connection, domain, clock);
    return { reason: String(error.details['said'] ?? error.message) };
  }
}

/**
 * Thaws the guest. Returns how many file systems were still frozen: fewer than were frozen when
 * something else has thawed them before. Fails with `agent-unavailable` when the guest does not say
 * that it is thawed, however often it is asked.
 */
export async function thaw(
  connection: LibvirtConnection,
  domain: Domain,
  clock: Clock,
): Promise<number> {
  let thawed = 0;
  for (let attempt = 0; attempt < THAW_ATTEMPTS_MAX; attempt++) {
    try {
      thawed += await connection.thaw(domain);
      if ((await freezeStatus(connection, domain)) === 'thawed') return thawed;
    } catch (error) {
      if (!isCofferError(error)) throw error;
    }
    await clock.sleep(THAW_DELAY_MS);
  }
  throw new CofferError('agent-unavailable', {
    vm: domain.name,
    reason: 'its file systems are frozen and its agent does not thaw them; reset the machine',
  });
}

export async function freezeStatus(
  connection: LibvirtConnection,
  domain: Domain,
): Promise<'thawed' | 'frozen'> {
  const query = JSON.stringify({ execute: 'guest-fsfreeze-status' });
  const answer = await connection.agentCommand(domain, query, AGENT_TIMEOUT_SECONDS);
  const parsed = v.safeParse(FreezeStatus, JSON.parse(answer));
  if (!parsed.success) {
    throw new CofferError('agent-unavailable', { reason: parsed.issues[0].message });
  }
  return parsed.output.return;
}
