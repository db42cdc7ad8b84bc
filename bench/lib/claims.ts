// What Coffer wants to reach against its peers, and what a run shows of it. Pure: rows in, lines
// out. A missed claim is told and fails nothing, since it depends on the machine and its load.
import type { Row } from './report.ts';

const REFERENCE = 'coffer';
const RSS_MAX_MIB = 512;
const LINK_PERCENT_MIN = 80;
const STORED_RATIO_MAX = 1.1;
const GC_PLAN_SECONDS_MAX = 30;
/** Packs of nodes against packs of data. */
const METADATA_PERCENT_MAX = 5;
/** New chunks before compression against the bytes changed, for scattered 4 KiB writes. */
const AMPLIFICATION_MAX = 70;

/** How many times faster than a peer a step should be. */
const SPEEDS: { bench: RegExp; step: string; peer: string; ratioMin: number }[] = [
  { bench: /^disk/, step: 'first', peer: 'restic', ratioMin: 2.5 },
  { bench: /^disk/, step: 'first', peer: 'borg', ratioMin: 2.2 },
  { bench: /^disk/, step: 'unchanged', peer: 'restic', ratioMin: 3 },
  { bench: /^disk/, step: 'restore', peer: 'restic', ratioMin: 2 },
  { bench: /^small files/, step: 'first', peer: 'restic', ratioMin: 1 },
  { bench: /^small files/, step: 'unchanged', peer: 'restic', ratioMin: 1 },
  { bench: /^small files/, step: 'restore', peer: 'restic', ratioMin: 1 },
  { bench: /^gc/, step: 'gc', peer: 'restic', ratioMin: 1 },
];

export function claimLines(rows: Row[]): string[] {
  return rows
    .filter((row) => row.tool === REFERENCE)
    .flatMap((own) => [...speedLines(own, rows), ...storedLines(own, rows), ...ownLines(own)]);
}

function speedLines(own: Row, rows: Row[]): string[] {
  return SPEEDS.filter(({ bench, step }) => bench.test(own.bench) && step === own.step).flatMap(
    ({ peer, ratioMin }) => {
      const other = peerOf(own, peer, rows);
      if (other === undefined) return [];
      const ratio = other.measure.wallSeconds / own.measure.wallSeconds;
      const text = `${ratio.toFixed(2)} times as fast as ${peer} (at least ${ratioMin})`;
      return [line(own, ratio >= ratioMin, text)];
    },
  );
}

function storedLines(own: Row, rows: Row[]): string[] {
  const ownMiB = own.figures['storedMiB'];
  const peerMiB = peerOf(own, 'restic', rows)?.figures['storedMiB'];
  if (own.step !== 'first' || typeof ownMiB !== 'number' || typeof peerMiB !== 'number') return [];
  const ratio = ownMiB / peerMiB;
  const text = `stores ${ratio.toFixed(2)} times what restic stores (at most ${STORED_RATIO_MAX})`;
  return [line(own, ratio <= STORED_RATIO_MAX, text)];
}

function ownLines(own: Row): string[] {
  const lines: string[] = [];
  const { rssMaxMiB, wallSeconds } = own.measure;
  const memory = `holds ${rssMaxMiB.toFixed(0)} MiB of memory (at most ${RSS_MAX_MIB})`;
  lines.push(line(own, rssMaxMiB <= RSS_MAX_MIB, memory));
  const percent = own.figures['linkPercent'];
  if (typeof percent === 'number') {
    const text = `uses ${percent.toFixed(0)} % of the link (at least ${LINK_PERCENT_MIN})`;
    lines.push(line(own, percent >= LINK_PERCENT_MIN, text));
  }
  if (own.step === 'gc plan') {
    const text = `took ${wallSeconds.toFixed(1)} s (at most ${GC_PLAN_SECONDS_MAX})`;
    lines.push(line(own, wallSeconds <= GC_PLAN_SECONDS_MAX, text));
  }
  const { newChunksMiB, changedMiB, metadataPercent } = own.figures;
  if (typeof metadataPercent === 'number') {
    const text = `metadata is ${metadataPercent.toFixed(2)} % of the data added (at most ${METADATA_PERCENT_MAX})`;
    lines.push(line(own, metadataPercent <= METADATA_PERCENT_MAX, text));
  }
  if (typeof newChunksMiB === 'number' && typeof changedMiB === 'number') {
    const ratio = newChunksMiB / changedMiB;
    const text = `stores ${ratio.toFixed(1)} times the bytes changed (at most ${AMPLIFICATION_MAX})`;
    lines.push(line(own, ratio <= AMPLIFICATION_MAX, text));
  }
  if (own.figures['equal'] === 'NO') lines.push(line(own, false, 'the restored copy differs'));
  return lines;
}

function peerOf(own: Row, peer: string, rows: Row[]): Row | undefined {
  return rows.find((row) => row.bench === own.bench && row.step === own.step && row.tool === peer);
}

function line(own: Row, isReached: boolean, text: string): string {
  return `${isReached ? 'reached' : 'MISSED '}  ${own.bench}, ${own.step}: ${text}`;
}
