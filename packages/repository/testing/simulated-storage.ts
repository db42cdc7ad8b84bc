/**
 * A repository of the simulation: its storage, which may be set back, lose a part or be cloned, all
 * in one moment between two calls, when it is a single store; and what its users were promised of it.
 */
import type { Clock } from '@coffer/base';
import type { StoredObject } from '@coffer/storage/memory.ts';
import { decodeIndexObject } from '../index/index-codec.ts';
import { decodePack } from '../pack/pack-codec.ts';
import { parsePointObjectName } from '../recovery-point.ts';
import {
  type PlaceOptions,
  replicatedPlace,
  type SimulatedPlace,
  singlePlace,
} from './simulation-places.ts';

/** A collection that has looked deletes for so long until it looks again. */
const LOOK_MS_MAX = 60_000;

export interface StorageOptions extends PlaceOptions {
  readonly replicated: boolean;
  /** Chunks that a point reaches, in hexadecimal. */
  readonly reachedBy: (pointId: string) => ReadonlySet<string>;
}

export interface StorageState {
  readonly objects: ReadonlyMap<string, StoredObject>;
  readonly promised: ReadonlySet<string>;
}

export class SimulatedStorage {
  readonly place: SimulatedPlace;
  /** Points whose commit succeeded and that nobody asked to remove. */
  readonly promised = new Set<string>();
  /** Points that somebody asked to remove, perhaps before their writer knew that it had committed. */
  readonly unwanted = new Set<string>();
  /** Points whose commit was begun. */
  readonly committing = new Set<string>();
  /** Points that may miss chunks, by what the storage lost. */
  readonly excused = new Set<string>();
  readonly #objects = new Map<string, StoredObject>();
  readonly #clock: Clock;
  readonly #reachedBy: StorageOptions['reachedBy'];
  #lossCount = 0;
  #setBackAt = Number.NEGATIVE_INFINITY;

  constructor({ replicated, reachedBy, ...options }: StorageOptions) {
    this.#clock = options.clock;
    this.#reachedBy = reachedBy;
    const onDelete = (name: string): void => this.#deleting(name);
    this.place = replicated
      ? replicatedPlace(options)
      : singlePlace({ ...options, objects: this.#objects, onDelete });
  }

  /** How often it has lost something. */
  get lossCount(): number {
    return this.#lossCount;
  }

  promise(id: string): void {
    if (!this.unwanted.has(id)) this.promised.add(id);
  }

  state(): StorageState {
    return { objects: new Map(this.#objects), promised: new Set(this.promised) };
  }

  /** Becomes a clone of another one. */
  become(other: SimulatedStorage): void {
    for (const [name, object] of other.#objects) this.#objects.set(name, object);
    for (const id of other.promised) this.promised.add(id);
    for (const id of other.unwanted) this.unwanted.add(id);
  }

  /** What was promised later does not hold any more, and may be there in part. */
  setBackTo({ objects, promised }: StorageState): void {
    this.#lossCount++;
    this.#setBackAt = this.#clock.now();
    this.#objects.clear();
    for (const [name, object] of objects) this.#objects.set(name, object);
    for (const id of this.committing) if (!promised.has(id)) this.excused.add(id);
    this.promised.clear();
    for (const id of promised) this.promise(id);
  }

  lose(isLost: (name: string) => boolean): void {
    this.#lossCount++;
    const chunks = new Set<string>();
    for (const [name, { bytes }] of this.#objects) {
      if (!isLost(name)) continue;
      this.#objects.delete(name);
      for (const id of chunksOf(name, bytes)) chunks.add(id);
      const point = parsePointObjectName(name);
      if (!point) continue;
      // It may be listed again, by somebody who is late, when what it reaches was swept.
      this.promised.delete(point.id);
      this.excused.add(point.id);
    }
    this.#excuse(chunks);
  }

  /** What a collection had decided to delete, when the storage was set back under it. */
  #deleting(name: string): void {
    const object = this.#objects.get(name);
    const isLate = this.#clock.now() - this.#setBackAt <= LOOK_MS_MAX;
    if (object && isLate) this.#excuse(new Set(chunksOf(name, object.bytes)));
  }

  /** Points whose commit was begun may miss these. */
  #excuse(chunks: ReadonlySet<string>): void {
    for (const id of this.committing) {
      if ([...this.#reachedBy(id)].some((chunk) => chunks.has(chunk))) this.excused.add(id);
    }
  }
}

function chunksOf(name: string, bytes: Buffer): string[] {
  const footers = name.startsWith('packs/')
    ? [decodePack(bytes, name)]
    : name.startsWith('index/')
      ? decodeIndexObject({ name, bytes })
      : [];
  return footers.flatMap(({ entries }) => entries.map(({ id }) => id.toString('hex')));
}
