/**
 * Where a simulated repository lies: in one store, or in one over three units that go away, are slow,
 * return, and that single processes do not reach.
 */
import { assert, type Clock, isCofferError, type Random } from '@coffer/base';
import { openMemoryStore, type StoredObject } from '@coffer/storage/memory.ts';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { mendUnits } from '@coffer/storage/replicated/mend.ts';
import { formSet, openReplicatedStore } from '@coffer/storage/replicated/replicated-store.ts';
import { absentUnits, returnUnit } from '@coffer/storage/replicated/return.ts';
import { retrying } from '@coffer/storage/retrying.ts';
import { faulty } from '@coffer/storage/testing/faulty.ts';
import { Weather, withOutages } from '@coffer/storage/testing/outage.ts';
import { onDeleting } from './test-repository.ts';

/** The store as one process meets it. */
export interface SimulatedStore {
  readonly store: ObjectStore;
  /** What a service does beside: brings back units that were away. */
  maintain(): Promise<void>;
  /** The process dies. */
  crash(): void;
}

export interface SimulatedPlace {
  open(): SimulatedStore;
  /** Without faults. */
  readonly quiet: ObjectStore;
  begin(): Promise<void>;
  /** Nothing fails any more. */
  settle(): Promise<void>;
  /** Nothing changes by itself any more, also where it was broken off. */
  end(): void;
}

export interface PlaceOptions {
  readonly clock: Clock;
  readonly random: Random;
}

export interface SinglePlaceOptions extends PlaceOptions {
  /** What it holds, by name, for an adversary to change. */
  readonly objects: Map<string, StoredObject>;
  /** Told of what a process deletes, before it is gone. */
  readonly onDelete: (name: string) => void;
}

const FAULTS = {
  errorBefore: 0.01,
  errorAfter: 0.01,
  putsLate: 0.01,
  lateMsMax: 10 * 3_600_000,
  delayMsMax: 200,
};

export function singlePlace(options: SinglePlaceOptions): SimulatedPlace {
  const { clock, random, objects, onDelete } = options;
  const quiet = openMemoryStore({ clock, objects });
  const watched = onDeleting(quiet, onDelete);
  return {
    quiet,
    open: () => {
      const store = faulty(watched, { ...FAULTS, clock, random });
      return { store, maintain: async () => {}, crash: () => store.crash() };
    },
    begin: async () => {},
    settle: async () => {},
    end: () => {},
  };
}

const UNITS = ['a', 'b', 'c'] as const;
const MEMBERS_MIN = 2;
const RETURNS_MAX = 5;
/** Of the processes. */
const MAINTAINED_SHARE = 0.3;
/** One is away, or slow, about half of the time. */
const FAIR_MS_MAX = 120_000;
const BAD_MS_MAX = 90_000;

export function replicatedPlace(options: PlaceOptions): SimulatedPlace {
  return new ReplicatedPlace(options);
}

class ReplicatedPlace implements SimulatedPlace {
  readonly quiet: ObjectStore;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #units: ReadonlyMap<string, ObjectStore>;
  readonly #weather: ReadonlyMap<string, Weather>;
  #isSettled = false;

  constructor({ clock, random }: PlaceOptions) {
    this.#clock = clock;
    this.#random = random;
    this.#units = new Map(UNITS.map((unit) => [unit, openMemoryStore({ clock })]));
    this.#weather = new Map(UNITS.map((unit) => [unit, new Weather(clock)]));
    this.quiet = this.#replicated(this.#units);
  }

  async begin(): Promise<void> {
    await formSet({ units: this.#units, membersMin: MEMBERS_MIN });
    void this.#changeWeather();
  }

  open(): SimulatedStore {
    const [random, clock] = [this.#random, this.#clock];
    const cutOff = random.fraction() < 0.1 ? this.#anyUnit() : undefined;
    const handles = UNITS.map((unit) => {
      const weather = this.#weather.get(unit)!;
      const met = { weather, random, isCutOff: unit === cutOff };
      return faulty(withOutages(this.#units.get(unit)!, met), { ...FAULTS, clock, random });
    });
    const units = new Map(
      handles.map((handle, index) => {
        const patience = { attemptsMax: 3, delayMs: 100, clock, random };
        return [UNITS[index]!, retrying(handle, patience)];
      }),
    );
    return {
      store: this.#replicated(units),
      maintain: () => this.#maintain(units),
      crash: () => handles.forEach((handle) => handle.crash()),
    };
  }

  end(): void {
    this.#isSettled = true;
  }

  async settle(): Promise<void> {
    this.end();
    for (const weather of this.#weather.values()) weather.clear();
    await this.#clock.sleep(24 * 3_600_000);
    const options = { units: this.#units, membersMin: MEMBERS_MIN };
    // What a process that is gone has voted for comes first, now and then.
    for (let attempt = 0; attempt < RETURNS_MAX; attempt++) await this.#returnAll(this.#units);
    assert((await absentUnits(options)).length === 0, 'every unit returns');
  }

  #replicated(units: ReadonlyMap<string, ObjectStore>): ObjectStore {
    return openReplicatedStore({ location: 'three units', units, membersMin: MEMBERS_MIN });
  }

  /** Now and then, and in vain where too many are away. */
  async #maintain(units: ReadonlyMap<string, ObjectStore>): Promise<void> {
    if (this.#random.fraction() > MAINTAINED_SHARE) return;
    try {
      await this.#returnAll(units);
    } catch (error) {
      if (!isCofferError(error, 'store-unavailable')) throw error;
    }
  }

  async #returnAll(units: ReadonlyMap<string, ObjectStore>): Promise<void> {
    const options = { units, membersMin: MEMBERS_MIN, random: this.#random };
    for (const unit of await absentUnits(options)) await returnUnit(unit, options);
    await mendUnits({ ...options, clock: this.#clock });
  }

  async #changeWeather(): Promise<void> {
    for (;;) {
      await this.#clock.sleep(this.#random.fraction() * FAIR_MS_MAX);
      if (this.#isSettled) return;
      const weather = this.#weather.get(this.#anyUnit())!;
      const durationMs = this.#random.fraction() * BAD_MS_MAX;
      if (this.#random.fraction() < 0.7) weather.down(durationMs);
      else weather.slow(durationMs, 2000);
    }
  }

  #anyUnit(): string {
    return UNITS[Math.floor(this.#random.fraction() * UNITS.length)]!;
  }
}
