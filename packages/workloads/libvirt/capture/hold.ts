/**
 * Holds a guest still for the moment of a checkpoint, as well as it can be held, and lets it go:
 * scripts bring its applications to rest, its agent freezes its file systems; else it is paused, where
 * that is asked for, or captured as it is. Whoever holds a guest lets it go, whatever happens.
 */
import { type Clock, isCofferError } from '@coffer/base';
import type { Consistency, ReachedConsistency } from '../../vm-capture.ts';
import { type AgentInfo, GuestAgent } from '../agent/guest-agent.ts';
import type { Domain, LibvirtConnection } from '../connection.ts';
import { freezeApplications, type ScriptsOutcome, thawApplications } from './guest-scripts.ts';
import { freeze, type FreezeTarget, type Frozen, ifAgentFailed, thaw } from './freeze.ts';
import type { RunFolder } from './run-folder.ts';
import { startWatchdog, type Watchdog, WATCHDOG_SECONDS } from './watchdog.ts';

/** What a machine did before its capture. */
export type Power = 'running' | 'paused' | 'off';

export interface HoldOptions {
  readonly connection: LibvirtConnection;
  readonly domain: Domain;
  readonly power: Power;
  readonly hasAgent: boolean;
  readonly demanded: Consistency | 'best';
  /** A guest that cannot be frozen is paused. */
  readonly pauses: boolean;
  /** Keeps a mark while the guest is held, for the next run, if this one is killed. */
  readonly folder: RunFolder;
  readonly clock: Clock;
}

export interface HeldGuest {
  /** Its file systems stay as they are until it is let go. */
  readonly isFrozen: boolean;
  /** Lets the guest go, and says how consistent the moment was. */
  release(): Promise<ReachedConsistency>;
}

export async function holdGuest(options: HoldOptions): Promise<HeldGuest> {
  const { power, demanded, hasAgent } = options;
  if (power === 'off') return { isFrozen: false, release: async () => reached('off') };
  if (power === 'paused') {
    const release = async (): Promise<ReachedConsistency> =>
      reached('crash', 'the machine is paused');
    return { isFrozen: false, release };
  }
  if (demanded === 'crash') return await pausedOrNot(options, 'as demanded');
  if (!hasAgent) return await pausedOrNot(options, 'the machine has no channel of an agent');
  const frozen = await freezeGuest(options);
  return 'reason' in frozen ? await pausedOrNot(options, frozen.reason, frozen.isFailure) : frozen;
}

/**
 * Lets go what a run that was killed holds. False when the agent does not answer, so that applications
 * may still be at rest: that is no reason to stop for good.
 */
export async function releaseLeftover(target: FreezeTarget): Promise<boolean> {
  await thaw(target);
  const agent = new GuestAgent(target.connection, target.domain, target.clock);
  try {
    const info = await agent.info();
    if (info.commands.has('guest-exec') && !info.isWindows) await thawApplications(agent);
    return true;
  } catch (error) {
    if (!isCofferError(error)) throw error;
    return false;
  }
}

async function pausedOrNot(
  { connection, domain, pauses, folder }: HoldOptions,
  reason: string,
  isFailure = false,
): Promise<HeldGuest> {
  if (!pauses) {
    return { isFrozen: false, release: async () => reached('crash', reason, isFailure) };
  }
  folder.mark('suspended', String(domain.id));
  await connection.suspend(domain);
  const release = async (): Promise<ReachedConsistency> => {
    await connection.resume(domain);
    folder.unmark('suspended');
    return reached('crash', `${reason}; it was paused for the moment`, isFailure);
  };
  return { isFrozen: false, release };
}

/** Undefined, with the reason, when the guest cannot be frozen; nothing of it is held then. */
async function freezeGuest(
  options: HoldOptions,
): Promise<HeldGuest | { readonly reason: string; readonly isFailure: boolean }> {
  const { connection, domain, clock, folder } = options;
  const agent = new GuestAgent(connection, domain, clock);
  const info = await infoOfThawed(options, agent).catch(ifAgentFailed);
  if (!info) return { reason: 'the guest agent does not answer', isFailure: false };
  const rest = new Rest(agent, { domain, folder, info });
  try {
    await rest.begin(clock);
    const target = { connection, domain, clock, selfThawsAt: rest.selfThawsAt };
    const frozen = await freeze(target);
    const level = levelOf(info, rest.scripts);
    if (!('reason' in frozen)) return heldFrozen(target, frozen, level, () => rest.end());
    const atRest = await failureOf(() => rest.end());
    return { reason: [frozen.reason, atRest].filter(Boolean).join('; '), isFailure: true };
  } catch (error) {
    // The mark stays: file systems may be frozen still.
    await failureOf(() => rest.letGo());
    throw error;
  }
}

/** Applications that are at rest, and a watchdog that thaws file systems should this host die. */
class Rest {
  readonly #agent: GuestAgent;
  readonly #domain: Domain;
  readonly #folder: RunFolder;
  readonly #runsCommands: boolean;
  #watchdog: Watchdog | undefined;
  /** Undefined where the agent runs no scripts. */
  scripts: ScriptsOutcome | undefined;
  /** When the watchdog thaws, where there is one. */
  selfThawsAt: number | undefined;

  constructor(
    agent: GuestAgent,
    { domain, folder, info }: { domain: Domain; folder: RunFolder; info: AgentInfo },
  ) {
    this.#agent = agent;
    this.#domain = domain;
    this.#folder = folder;
    this.#runsCommands = info.commands.has('guest-exec') && !info.isWindows;
  }

  async begin(clock: Clock): Promise<void> {
    this.#folder.markFrozen(this.#domain);
    if (!this.#runsCommands) return;
    this.scripts = await freezeApplications(this.#agent);
    // Without a watchdog the guest is less guarded; that is no reason not to back it up.
    this.#watchdog = await startWatchdog(this.#agent).catch(ifAgentFailed);
    if (!this.#watchdog) return;
    this.selfThawsAt = clock.now() + WATCHDOG_SECONDS * 1000;
    this.#folder.markFrozen(this.#domain, this.selfThawsAt);
  }

  async letGo(): Promise<void> {
    await this.#watchdog?.end().catch(ifAgentFailed);
    if (this.scripts && this.scripts.kind !== 'none') await thawApplications(this.#agent);
  }

  async end(): Promise<void> {
    await this.letGo();
    this.#folder.unmark('frozen');
  }
}

/** An agent that died while all was frozen takes it for frozen, and does little, until it is asked. */
async function infoOfThawed(target: FreezeTarget, agent: GuestAgent): Promise<AgentInfo> {
  const info = await agent.info();
  if (info.commands.has('guest-exec') || (await agent.freezeStatus()) === 'thawed') return info;
  await thaw(target);
  return await agent.info();
}

/** What is wrong when applications cannot be let go; the next run tries again. */
async function failureOf(letGo: () => Promise<void>): Promise<string | undefined> {
  try {
    await letGo();
    return undefined;
  } catch (error) {
    if (!isCofferError(error)) throw error;
    return `applications of the guest may still be at rest: ${error.message}`;
  }
}

/** What is reached when the freeze holds. Windows asks its applications by itself (VSS). */
function levelOf({ isWindows }: AgentInfo, scripts: ScriptsOutcome | undefined): Level {
  if (isWindows) return { level: 'application' };
  if (!scripts) {
    return { level: 'file-system', reason: 'the agent runs no scripts (guest-exec is off)' };
  }
  switch (scripts.kind) {
    case 'at-rest':
      return { level: 'application' };
    case 'none':
      return { level: 'file-system', reason: 'the guest has no scripts in /etc/coffer/freeze.d' };
    case 'failed':
      return { level: 'file-system', reason: scripts.reason, isFailure: true };
  }
}

interface Level {
  readonly level: Consistency;
  readonly reason?: string;
  readonly isFailure?: boolean;
}

function heldFrozen(
  target: FreezeTarget,
  { count, frozenAt }: Frozen,
  { level, reason, isFailure = false }: Level,
  letGo: () => Promise<void>,
): HeldGuest {
  const release = async (): Promise<ReachedConsistency> => {
    const thawed = await thaw(target);
    const frozenMs = thawed.thawedAt - frozenAt;
    const atRest = await failureOf(letGo);
    if (atRest !== undefined) return { level, reason: atRest, isFailure: true, frozenMs };
    if (thawed.count >= count) return { level, reason, isFailure, frozenMs };
    const other = 'the guest was thawed by something else before the checkpoint was made';
    return { ...reached('crash', other, true), frozenMs };
  };
  return { isFrozen: true, release };
}

function reached(level: Consistency, reason?: string, isFailure = false): ReachedConsistency {
  return { level, reason, isFailure, frozenMs: 0 };
}
