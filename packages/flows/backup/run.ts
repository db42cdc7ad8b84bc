/** A run of a writer: what it captures becomes recovery points, all at once or none at all. */
import { hostname } from 'node:os';
import {
  CofferError,
  type Finding,
  firstFailure,
  isCofferError,
  type RunContext,
  tellFinding,
  tellPhase,
} from '@coffer/base';
import {
  type Attempt,
  type EncodedPoint,
  encodePoint,
  isFromFuture,
  type PointKind,
  type PointRoot,
  type WriterRepository,
  type Session,
} from '@coffer/repository';
import { keptFindings, type Manifest } from '../manifest.ts';

export interface RunOptions {
  readonly repository: WriterRepository;
  readonly tags: Readonly<Record<string, string>>;
  /** What is stored is read back; without all of it, no point is made. */
  readonly readsBack?: boolean | undefined;
  /** Of a job whose points are made once, however often it is tried. */
  readonly attempt?: Attempt | undefined;
}

/** What captures share. */
export interface Writing {
  readonly repository: WriterRepository;
  readonly session: Session;
  /** What a capture holds is given back at the end of the run, whatever that is. */
  readonly scope: AsyncDisposableStack;
}

/** What becomes one point. */
export interface Captured {
  readonly item: string;
  readonly kind: PointKind;
  /** Where it is from, as people name it. */
  readonly sourcePath: string;
  readonly roots: readonly PointRoot[];
  readonly bytesRead: number;
  readonly findings: readonly Finding[];
  readonly manifest: Pick<Manifest, 'fileCount' | 'rootFolder' | 'vm'>;
  /** For the writer of the next point. */
  readonly notes?: unknown;
  /** Called with its id when the point is stored. */
  readonly keep?: (point: string) => Promise<void>;
}

export interface BackupResult {
  readonly point: string;
  readonly item: string;
  readonly kind: PointKind;
  readonly takenAt: string;
  readonly bytesSource: number;
  readonly bytesRead: number;
  readonly bytesStored: number;
  /** The part of it that trees take: folders, and where chunks belong. */
  readonly bytesStoredNodes: number;
  readonly chunksNew: number;
  readonly chunksReused: number;
  readonly durationMs: number;
  readonly findings: readonly Finding[];
}

/**
 * Results are in the order in which `capture` gives what becomes points. Fails with `already-made`,
 * which names the points, when an earlier attempt of the job has committed, and with `session-fenced`
 * when a later one has begun.
 */
export async function makePoints(
  run: RunContext,
  options: RunOptions,
  capture: (writing: Writing) => AsyncIterable<Captured>,
): Promise<BackupResult[]> {
  const repository = options.repository.during(run);
  const takenAt = run.clock.now();
  const session = await begin(repository, options);
  let results: BackupResult[] | undefined;
  try {
    await using scope = new AsyncDisposableStack();
    const made: { point: EncodedPoint; result: BackupResult; captured: Captured }[] = [];
    const counted = new Counted(session);
    for await (const captured of capture({ repository, session, scope })) {
      await session.writer.flush();
      const ahead = await pointsAhead(repository, captured.item);
      for (const finding of ahead) tellFinding(run, finding);
      const durationMs = run.clock.now() - takenAt;
      const told = { ...captured, findings: [...captured.findings, ...ahead] };
      const facts = { ...counted.next(), takenAt, durationMs };
      const point = pointOf(options, told, facts);
      made.push({ point, result: resultOf(point.id, told, facts), captured });
    }
    tellPhase(run, 'commit');
    await session.commit(made.map(({ point }) => point));
    results = made.map(({ result }) => result);
    for (const { point } of results) run.tell({ kind: 'milestone', at: 'point-made', id: point });
    for (const [index, { captured }] of made.entries()) {
      results[index] = await kept(captured, results[index]!);
    }
    return results;
  } catch (error) {
    if (results) return results.map((result) => withLateFailure(result, error));
    await session.abandon().catch(() => {
      // The store may be gone; a garbage collection ends the session then.
    });
    throw error;
  }
}

async function begin(
  repository: WriterRepository,
  { readsBack, attempt }: RunOptions,
): Promise<Session> {
  if (!attempt) return await repository.beginSession({ readsBack });
  const begun = await repository.beginAttempt(attempt, { readsBack });
  if (begun.outcome === 'begun') return begun.session;
  const points = begun.result.points.map(({ id }) => id);
  throw new CofferError('already-made', { job: attempt.key, points: points.join(', ') });
}

/** A point that says it is later than now would be taken for the latest one for as long. */
async function pointsAhead(repository: WriterRepository, item: string): Promise<Finding[]> {
  const points = await repository.points({ onDamaged: () => {}, filter: { item } });
  const now = repository.run.clock.now();
  return points
    .filter((point) => isFromFuture(point, now))
    .map(({ id, takenAt }) => ({
      code: 'point-from-future',
      subject: { kind: 'point', name: id },
      details: { takenAt: timeOf(takenAt) },
    }));
}

/** As people write it, or the number where no calendar can show it. */
function timeOf(timeMs: number): string {
  const date = new Date(timeMs);
  return Number.isNaN(date.getTime()) ? `${timeMs} ms after 1970` : date.toISOString();
}

/** The point exists already: what fails from now on is told, and takes nothing from it. */
async function kept({ keep }: Captured, result: BackupResult): Promise<BackupResult> {
  try {
    await keep?.(result.point);
    return result;
  } catch (error) {
    return withLateFailure(result, error);
  }
}

/** Of several failures, what failed first is told. */
function withLateFailure(result: BackupResult, error: unknown): BackupResult {
  const first = firstFailure(error);
  if (!isCofferError(first)) throw error;
  const subject = { kind: 'point', name: result.point } as const;
  const details = { error: first.code, reason: first.message };
  const finding: Finding = { code: 'failed-afterwards', subject, details };
  return { ...result, findings: [...result.findings, finding] };
}

type Counts = Pick<BackupResult, 'bytesStored' | 'bytesStoredNodes' | 'chunksNew' | 'chunksReused'>;

/** What a session has stored since it was asked last. */
class Counted {
  readonly #session: Session;
  #before: Counts = { bytesStored: 0, bytesStoredNodes: 0, chunksNew: 0, chunksReused: 0 };

  constructor(session: Session) {
    this.#session = session;
  }

  next(): Counts {
    const before = this.#before;
    const now = { ...this.#session.writer.statistics };
    this.#before = now;
    return {
      bytesStored: now.bytesStored - before.bytesStored,
      bytesStoredNodes: now.bytesStoredNodes - before.bytesStoredNodes,
      chunksNew: now.chunksNew - before.chunksNew,
      chunksReused: now.chunksReused - before.chunksReused,
    };
  }
}

/** What is known of a point when it is made. */
interface Facts extends Counts {
  readonly takenAt: number;
  readonly durationMs: number;
}

function resultOf(
  point: string,
  { item, kind, roots, bytesRead, findings }: Captured,
  { takenAt, durationMs, ...counts }: Facts,
): BackupResult {
  return {
    point,
    item,
    kind,
    takenAt: new Date(takenAt).toISOString(),
    bytesSource: roots.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    bytesRead,
    ...counts,
    durationMs,
    findings,
  };
}

function pointOf(
  { repository, tags }: RunOptions,
  { item, kind, sourcePath, roots, bytesRead, findings, manifest, notes }: Captured,
  { takenAt, bytesStored, durationMs }: Facts,
): EncodedPoint {
  const content: Manifest = {
    host: hostname(),
    sourcePath,
    ...manifest,
    ...keptFindings(findings),
    bytesRead,
    bytesStored,
    durationMs,
  };
  const header = { item, kind, takenAt, roots: [...roots], tags };
  const seal = { ...repository.keys, random: repository.run.random };
  return encodePoint(header, content, seal, notes);
}
