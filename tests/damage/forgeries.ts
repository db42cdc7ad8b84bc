/**
 * Objects of every kind that are well-formed and say what is not so, as somebody makes them who can
 * write to the store and reads in it what is in clear. He has no key but the public one.
 */
import { type Random, seededRandom } from '@coffer/base';
import { decodeKeySlot, encodeKeySlot, type RepositoryKeys } from '@coffer/repository/keys.ts';
import { decodeConfig, encodeConfig, type RepositoryConfig } from '@coffer/repository/config.ts';
import { encodeMark } from '@coffer/repository/damaged-points.ts';
import { encodeRemoval } from '@coffer/repository/removed-points.ts';
import { encodeJob, jobName } from '@coffer/repository/session/job.ts';
import { deletionName, encodeDeletion } from '@coffer/repository/deleted-points.ts';
import {
  type CondemnedRecord,
  encodeGcRecord,
  gcObjectName,
  type SweepRecord,
  type WaitingRecord,
} from '@coffer/repository/generations/gc-record.ts';
import { encodeHold, holdName } from '@coffer/repository/hold.ts';
import { decodeIndexObject, encodeIndexObject } from '@coffer/repository/index/index-codec.ts';
import { PackBuilder } from '@coffer/repository/pack/pack-builder.ts';
import {
  type PackDescription,
  type PackEntry,
  packObjectName,
} from '@coffer/repository/pack/pack-codec.ts';
import { encodePoint, pointObjectName } from '@coffer/repository/recovery-point.ts';
import { encodeReceipt, receiptName } from '@coffer/repository/receipt.ts';
import {
  beginName,
  encodeBegin,
  renewalName,
  encodeEnd,
  endName,
} from '@coffer/repository/session/session-record.ts';
import { encodeNodeClear, encodeNodeHead } from '@coffer/repository/tree/node-codec.ts';
import type { Damage } from './damages.ts';
import type { IntactPoint } from './intact.ts';

type Objects = ReadonlyMap<string, Buffer>;
type Change = readonly [string, Buffer | undefined];

/** What nobody has to find, and takes nothing away. */
const HARMLESS = { isFound: false, isExact: true, touches: (): boolean => false };
const FOUND = { ...HARMLESS, isFound: true };

/** Later than all that is there. */
const GENERATION = 9;
const NOBODY = 'ab'.repeat(16);

export class Forgeries {
  readonly #objects: Objects;
  readonly #points: readonly IntactPoint[];
  readonly #keys: RepositoryKeys;
  readonly #random: Random;
  readonly #packs: readonly PackDescription[];

  constructor(
    {
      objects,
      points,
      keys,
    }: {
      readonly objects: Objects;
      readonly points: readonly IntactPoint[];
      readonly keys: RepositoryKeys;
    },
    seed: number,
  ) {
    this.#objects = objects;
    this.#points = points;
    this.#keys = keys;
    this.#random = seededRandom(seed);
    this.#packs = this.#names(/^index\//).flatMap((name) =>
      decodeIndexObject({ name, bytes: objects.get(name)! }),
    );
  }

  *all(): Generator<Damage> {
    yield* this.#configs();
    yield* this.#keySlots();
    yield* this.#plantedPacks();
    yield* this.#replacedPacks();
    yield* this.#indexObjects();
    yield* this.#pointRecords();
    yield* this.#sessions();
    yield* this.#collections();
    yield* this.#besidePoints();
  }

  *#configs(): Generator<Damage> {
    const config = decodeConfig(this.#objects.get('config')!, 'config');
    const another: RepositoryConfig = { ...config, repositoryId: NOBODY };
    const foreign: RepositoryConfig = { ...another, publicKey: 'cd'.repeat(32) };
    yield forged('a config of another id', [['config', encodeConfig(another)]], FOUND);
    yield forged('a copy of another id', [['config-copy', encodeConfig(another)]], FOUND);
    yield forged('a copy for other keys', [['config-copy', encodeConfig(foreign)]], FOUND);
  }

  *#keySlots(): Generator<Damage> {
    for (const name of this.#names(/^keys\//)) {
      const slot = decodeKeySlot(name.slice('keys/'.length), this.#objects.get(name)!);
      const wrapped = 'ef'.repeat(slot.wrapped.length / 2);
      const other = encodeKeySlot({ ...slot, wrapped });
      yield forged(`a slot that does not hold the keys: ${name}`, [[name, other]], HARMLESS);
      const added = `keys/${NOBODY.slice(0, 16)}`;
      yield forged('a slot that nobody has the secret of', [[added, other]], HARMLESS);
    }
  }

  /** New packs, and an index object that names each, under ids that points reach. */
  *#plantedPacks(): Generator<Damage> {
    const entries = this.#packs
      .flatMap((pack) => pack.entries)
      .filter(({ id }) => this.#isNeeded(id));
    const others = entries.slice(0, 3).map(({ id }) => id);
    const heads = { 'no children': [], 'bogus children': [this.#random.bytes(32)], others };
    for (const { id, kind } of this.#sample(entries, 12)) {
      yield this.#planted(`other bytes under the id of a ${kind}`, (builder) =>
        builder.add(id, kind, this.#random.bytes(500)),
      );
      if (kind === 'data') continue;
      for (const [what, children] of Object.entries(heads)) {
        const clear = encodeNodeClear(encodeNodeHead(children), this.#random.bytes(32));
        yield this.#planted(`a node with ${what} under the id of another`, (builder) =>
          builder.add(id, kind, Buffer.alloc(0), clear),
        );
      }
    }
  }

  #planted(what: string, fill: (builder: PackBuilder) => void): Damage {
    const { bytes, ...description } = this.#pack(fill);
    const index = encodeIndexObject([description], this.#random.fraction() < 0.5 ? 0 : GENERATION);
    const isCounted = index.name.includes(`/${String(GENERATION).padStart(8, '0')}`);
    return forged(
      what,
      [
        [packObjectName(description.pack), bytes],
        [index.name, index.bytes],
      ],
      // One of a generation that was swept does not count.
      isCounted ? FOUND : HARMLESS,
    );
  }

  #pack(fill: (builder: PackBuilder) => void): ReturnType<PackBuilder['finish']> {
    const { publicKey } = this.#keys;
    const builder = new PackBuilder({ publicKey, random: this.#random });
    fill(builder);
    return builder.finish();
  }

  *#replacedPacks(): Generator<Damage> {
    for (const { pack, entries } of this.#packs) {
      const name = packObjectName(pack);
      const { bytes } = this.#pack((builder) => {
        for (const { id, kind } of entries) builder.add(id, kind, this.#random.bytes(20));
      });
      const touches = ({ needs }: IntactPoint): boolean => needs.has(name);
      const known = { isFound: this.#objects.has(name), touches, isExact: false };
      yield forged(
        `another pack of the same chunks in the place of ${name}`,
        [[name, bytes]],
        known,
      );
    }
  }

  *#indexObjects(): Generator<Damage> {
    const generation = GENERATION;
    for (const pack of this.#packs.filter(({ entries }) =>
      entries.some(({ id }) => this.#isNeeded(id)),
    )) {
      const lies: Record<string, PackDescription[]> = {
        'moved offsets': [{ ...pack, entries: pack.entries.map(shifted) }],
        'an entry less': [{ ...pack, entries: pack.entries.slice(1) }],
        'no entries': [{ ...pack, entries: [] }],
        'other forms': [{ ...pack, entries: pack.entries.map(ofOtherForm) }],
        'another size': [{ ...pack, sizeBytes: pack.sizeBytes + 1 }],
        'a pack that is not there': [{ ...pack, pack: this.#random.bytes(32) }],
      };
      for (const [lie, packs] of Object.entries(lies)) {
        const { name, bytes } = encodeIndexObject(packs, generation);
        yield forged(`an index object that tells of ${lie}`, [[name, bytes]], FOUND);
      }
      const { name, bytes } = encodeIndexObject([pack, pack, pack], generation);
      yield forged('an index object that names a pack thrice', [[name, bytes]], HARMLESS);
    }
  }

  *#pointRecords(): Generator<Damage> {
    const roots = this.#packs.flatMap(({ entries }) => entries.map(({ id }) => id.toString('hex')));
    const { id, item, bytes } = this.#point(roots[0]!);
    const name = pointObjectName(item, GENERATION, id);
    yield forged('a point with a wrong MAC', [[name, bytes]], FOUND);
    for (const old of this.#names(/^points\//)) {
      const touches = (point: IntactPoint): boolean => old.endsWith(point.id);
      const known = { isFound: true, touches, isExact: false };
      yield forged(`another point in the place of ${old}`, [[old, bytes]], known);
      const later = `${old.slice(0, -41)}${String(GENERATION).padStart(8, '0')}${old.slice(-33)}`;
      const same = this.#objects.get(old)!;
      yield forged('a point under a later generation, too', [[later, same]], HARMLESS);
    }
  }

  #point(root: string): ReturnType<typeof encodePoint> {
    const random = this.#random;
    const keys = { publicKey: this.#keys.publicKey, hashKey: random.bytes(32), random };
    const roots = [{ name: 'disk', root, sizeBytes: 256 * 1024 }];
    return encodePoint({ item: 'disk', kind: 'disk', takenAt: 1, roots, tags: {} }, {}, keys);
  }

  *#sessions(): Generator<Damage> {
    const begin = encodeBegin({ session: NOBODY, startedAt: 1, host: 'nobody' });
    yield forged('the begin of a session', [[beginName(NOBODY), begin]], HARMLESS);
    const renewal = renewalName(NOBODY, 999_999);
    yield forged('a renewal of no session', [[renewal, Buffer.alloc(0)]], HARMLESS);
    const { id, item, bytes } = this.#point('cd'.repeat(32));
    const points = [{ id, item, record: bytes.toString('base64') }];
    const committed = { outcome: 'committed', generation: GENERATION, points } as const;
    const sessions = new Set(this.#names(/^sessions\//).map((name) => name.split(/[/-]/)[1]!));
    for (const session of [NOBODY, ...sessions]) {
      const name = endName(session);
      const touches = ({ unlistedIn }: IntactPoint): boolean =>
        unlistedIn !== undefined && name.startsWith(unlistedIn);
      const fenced = encodeEnd({ session, outcome: 'fenced', by: 'nobody' });
      const lost = { touches, isExact: false };
      yield forged(`a fenced ${name}`, [[name, fenced]], { ...lost, isFound: false });
      const end = encodeEnd({ session, ...committed });
      yield forged(`a committed ${name}`, [[name, end]], { ...lost, isFound: true });
    }
  }

  /** Not a sweep with its `done`: who can write both hides what they like, which is a known limit. */
  *#collections(): Generator<Damage> {
    const generation = GENERATION;
    const packs = this.#packs.map(({ pack }) => pack.toString('hex'));
    const own = { generation, collection: NOBODY };
    const condemned: CondemnedRecord = { ...own, packs, sessions: [], indexObjects: [] };
    const waiting: WaitingRecord = { ...own, sessions: [] };
    const sweep: SweepRecord = { ...own, packs, survivors: [], indexObjects: [] };
    const records = { condemned, waiting, sweep, done: { generation } };
    for (const step of ['condemned', 'waiting', 'sweep', 'done'] as const) {
      const record = encodeGcRecord(step, records[step]);
      yield forged(`a ${step} alone`, [[gcObjectName(generation, step), record]], HARMLESS);
    }
    yield* this.#replacedCollections();
  }

  /** What a collection that goes on has to know is said otherwise. */
  *#replacedCollections(): Generator<Damage> {
    const packs = this.#packs.map(({ pack }) => pack.toString('hex'));
    for (const name of this.#names(/^gc\//)) {
      const [, digits = '', step] = /^gc\/(\d+)-(\w+)$/.exec(name) ?? [];
      const own = { generation: Number(digits), collection: NOBODY };
      const condemned: CondemnedRecord = { ...own, packs, sessions: [], indexObjects: [] };
      const waiting: WaitingRecord = { ...own, sessions: [] };
      const sweep: SweepRecord = { ...own, packs: [], survivors: [], indexObjects: [] };
      if (step === 'condemned') {
        const record = encodeGcRecord(step, condemned);
        yield forged('a collection that condemns all packs', [[name, record]], HARMLESS);
      }
      if (step === 'waiting') {
        const record = encodeGcRecord(step, waiting);
        yield forged('a collection that waits for nobody', [[name, record]], HARMLESS);
      }
      if (step === 'sweep') {
        const hiding = { isFound: true, isExact: false, touches: () => true };
        const record = encodeGcRecord(step, sweep);
        yield forged('a sweep that names no point', [[name, record]], hiding);
      }
    }
  }

  *#besidePoints(): Generator<Damage> {
    const terms = { holder: 'person', reason: 'forged', by: 'a forger' };
    const hold = encodeHold({ point: NOBODY, ...terms, heldAt: 1 });
    const name = holdName({ point: NOBODY, holder: terms.holder });
    yield forged('a hold of no point', [[name, hold]], HARMLESS);
    const arrival = { point: NOBODY, arrivedAt: 1, agent: 'agent', job: 'job' };
    const receipt = encodeReceipt(arrival, this.#random.bytes(32));
    yield forged('a receipt of no point', [[receiptName(NOBODY), receipt]], HARMLESS);
    for (const [kind, record] of [
      [/^holds\//, hold],
      [/^receipts\//, receipt],
    ] as const) {
      for (const each of this.#names(kind)) {
        yield forged(`the record of another point: ${each}`, [[each, record]], FOUND);
      }
    }
    for (const { id } of this.#points) yield* this.#marks(id);
    yield* this.#notes();
  }

  /** What was removed, what jobs have made, and what says nothing. */
  *#notes(): Generator<Damage> {
    for (const { id } of this.#points) {
      const note = encodeRemoval({ point: id, at: 1 });
      yield forged('the removal of a point that is there', [[`removed/${id}`, note]], HARMLESS);
    }
    const removal = encodeRemoval({ point: NOBODY, at: 1 });
    yield forged('the removal of no point', [[`removed/${NOBODY}`, removal]], HARMLESS);
    const nobody = { job: NOBODY.slice(0, 20), session: NOBODY, points: [] };
    const job = encodeJob(nobody);
    yield forged('what no job has made', [[jobName(nobody.job), job]], HARMLESS);
    for (const [kind, record] of [
      [/^removed\//, removal],
      [/^jobs\//, job],
    ] as const) {
      for (const name of this.#names(kind)) {
        yield forged(`the record of another: ${name}`, [[name, record]], FOUND);
      }
    }
    for (const name of this.#names(/^jobs\//)) {
      const others = encodeJob({ ...nobody, job: name.slice('jobs/'.length) });
      yield forged('a job that has made nothing', [[name, others]], HARMLESS);
    }
    for (const name of this.#names(/^damaged\//)) {
      const other = encodeMark({ point: NOBODY, foundAt: 1 });
      yield forged('a mark that tells of another point', [[name, other]], HARMLESS);
    }
    yield forged('a probe', [['probes/nobody', Buffer.from('anything')]], HARMLESS);
  }

  *#marks(id: string): Generator<Damage> {
    const mark = encodeMark({ point: id, foundAt: 1 });
    yield forged('a point that is marked as damaged', [[`damaged/${id}`, mark]], HARMLESS);
    const name = deletionName(id);
    const deletion = { point: id, at: 1, until: 2, by: 'a forger' };
    const hidden = {
      ...HARMLESS,
      isExact: false,
      touches: (point: IntactPoint) => point.id === id,
    };
    yield forged('a point that is deleted for a while', [[name, encodeDeletion(deletion)]], hidden);
    const another = encodeDeletion({ ...deletion, point: NOBODY });
    yield forged('the deletion of another point', [[name, another]], FOUND);
  }

  #isNeeded(id: Buffer): boolean {
    const chunk = id.toString('hex');
    return this.#points.some(({ needs }) =>
      Array.from(needs.values()).some((records) =>
        records.some((record) => record.chunk === chunk),
      ),
    );
  }

  #names(kind: RegExp): string[] {
    return Array.from(this.#objects.keys()).filter((name) => kind.test(name));
  }

  #sample<T>(all: readonly T[], count: number): T[] {
    return Array.from(
      { length: count },
      () => all[Math.floor(this.#random.fraction() * all.length)]!,
    );
  }
}

function forged(
  description: string,
  changes: readonly Change[],
  known: Pick<Damage, 'isFound' | 'isExact' | 'touches'>,
): Damage {
  return { description: `forged: ${description}`, changes: new Map(changes), ...known };
}

function shifted(entry: PackEntry): PackEntry {
  return { ...entry, offset: entry.offset - 1 };
}

function ofOtherForm(entry: PackEntry): PackEntry {
  return { ...entry, padded: !entry.padded, compressed: false };
}
