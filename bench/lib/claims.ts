// What Coffer wants to reach against its peers, and what a run shows of it. Pure: rows in, lines
// out. A missed claim is told and fails nothing, since it depends on the machine and its load.
import type { Row } from './report.ts';

const REFERENCE = 'coffer';
const RSS_MAX_MIB = 512;
const LINK_PERCENT_MIN = 80;
const GC_PLAN_SECONDS_MAX = 30;
/** Packs of nodes against packs of data. */
const METADATA_PERCENT_MAX = 5;

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
  { bench: /^vm$/, step: 'full', peer: 'virtnbdbackup', ratioMin: 2 },
  { bench: /^vm$/, step: 'incremental', peer: 'virtnbdbackup', ratioMin: 1 },
  { bench: /^vm$/, step: 'restore', peer: 'virtnbdbackup', ratioMin: 3 },
];

/** How much may be stored against a peer. */
const SIZES: { step: string; peer: string; ratioMax: number }[] = [
  { step: 'first', peer: 'restic', ratioMax: 1.1 },
  { step: 'full', peer: 'virtnbdbackup', ratioMax: 0.8 },
];

/** Figures of one row that may not be far apart. */
const RATIOS: { figure: string; against: string; ratioMax: number; what: string; than: string }[] =
  [
    {
      // New chunks before compression, for scattered 4 KiB writes.
      figure: 'newChunksMiB',
      against: 'changedMiB',
      ratioMax: 70,
      what: 'stores',
      than: 'the bytes changed',
    },
    {
      figure: 'p99Ms',
      against: 'undisturbedP99Ms',
      ratioMax: 2,
      what: '99 % of writes in the guest take',
      than: 'what they take undisturbed',
    },
    {
      figure: 'answerSeconds',
      against: 'startSeconds',
      ratioMax: 1.3,
      what: 'the guest answers after',
      than: 'the time of a normal start',
    },
    {
      figure: 'largeSeconds',
      against: 'smallSeconds',
      ratioMax: 1.25,
      what: 'a disk of 1 TiB takes',
      than: 'the time of one of 1 GiB',
    },
  ];

export function claimLines(rows: Row[]): string[] {
  return rows
    .filter((row) => row.tool === REFERENCE)
    .flatMap((own) => [
      ...speedLines(own, rows),
      ...storedLines(own, rows),
      ...ratioLines(own),
      ...ownLines(own),
    ]);
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
  return SIZES.filter(({ step }) => step === own.step).flatMap(({ peer, ratioMax }) => {
    const ownMiB = own.figures['storedMiB'];
    const peerMiB = peerOf(own, peer, rows)?.figures['storedMiB'];
    if (typeof ownMiB !== 'number' || typeof peerMiB !== 'number') return [];
    const ratio = ownMiB / peerMiB;
    const text = `stores ${ratio.toFixed(2)} times what ${peer} stores (at most ${ratioMax})`;
    return [line(own, ratio <= ratioMax, text)];
  });
}

function ratioLines(own: Row): string[] {
  return RATIOS.flatMap(({ figure, against, ratioMax, what, than }) => {
    const [above, below] = [own.figures[figure], own.figures[against]];
    if (typeof above !== 'number' || typeof below !== 'number') return [];
    const ratio = above / below;
    const text = `${what} ${ratio.toFixed(2)} times ${than} (at most ${ratioMax})`;
    return [line(own, ratio <= ratioMax, text)];
  });
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
  const { metadataPercent } = own.figures;
  if (typeof metadataPercent === 'number') {
    const text = `metadata is ${metadataPercent.toFixed(2)} % of the data added (at most ${METADATA_PERCENT_MAX})`;
    lines.push(line(own, metadataPercent <= METADATA_PERCENT_MAX, text));
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
