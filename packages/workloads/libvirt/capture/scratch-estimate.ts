/**
 * How much scratch space a backup may need: what the guest overwrites while its disks are read, which
 * is kept as it was until then. Pure.
 */

export interface ScratchDemand {
  /** What has to be read of all disks. */
  readonly readBytes: number;
  /** What the guest has overwritten since its last point; undefined when nobody has counted. */
  readonly dirtyBytes: number | undefined;
  readonly dirtyForMs: number;
  /** Of all disks. */
  readonly allocatedBytes: number;
}

/** A slow vault sets the pace; this is one behind a slow line. */
const READ_RATE_BYTES_PER_SECOND = 10_000_000;
/** A guest may be busier during its backup than it was on average. */
const BURST_FACTOR = 4;
const DAY_MS = 24 * 60 * 60 * 1000;
/** Where nothing is known: of what is allocated, a day. Usual machines change 2 to 7 % of it. */
const CHURN_A_DAY = 0.05;
const SIZE_BYTES_MIN = 32 * 1024 * 1024;

export function estimateScratchBytes(demand: ScratchDemand): number {
  const { readBytes, allocatedBytes } = demand;
  const churn = BURST_FACTOR * churnBytesPerSecond(demand);
  const overwritten = churn * (readBytes / READ_RATE_BYTES_PER_SECOND);
  // More than all can never be overwritten.
  return Math.max(SIZE_BYTES_MIN, Math.min(Math.ceil(overwritten), allocatedBytes));
}

function churnBytesPerSecond({ dirtyBytes, dirtyForMs, allocatedBytes }: ScratchDemand): number {
  if (dirtyBytes === undefined) return (CHURN_A_DAY * allocatedBytes * 1000) / DAY_MS;
  return (dirtyBytes * 1000) / Math.max(dirtyForMs, 60_000);
}
