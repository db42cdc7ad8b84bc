/** Tells when a machine is gone for good, and not only off, or about to be made. */

/** Somebody who changes a machine may forget it and define it again. */
const GONE_MS = 30_000;

export interface Seen {
  /** libvirt knows it. */
  readonly isThere: boolean;
  /** Whoever has restored or resumed it may not have made it yet. */
  readonly isAwaited: boolean;
}

export class MachineWatch {
  #hasBeenThere = false;
  #missingSince: number | undefined;

  /** After each look at libvirt. Returns whether it is gone. */
  isGone({ isThere, isAwaited }: Seen, now: number): boolean {
    this.#hasBeenThere ||= isThere;
    if (isThere || (isAwaited && !this.#hasBeenThere)) this.#missingSince = undefined;
    else this.#missingSince ??= now;
    return this.#missingSince !== undefined && now - this.#missingSince >= GONE_MS;
  }
}
