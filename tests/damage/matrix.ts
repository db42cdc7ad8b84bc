/** Damages one repository in one way after the other, and looks at what each of them does. */
import assert from 'node:assert/strict';
import { existsSync, lstatSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CofferError, isCofferError } from '@coffer/base';
import { testRun } from '@coffer/base/testing/run.ts';
import { restore } from '@coffer/flows/restore/restore.ts';
import {
  collectGarbage,
  type RecoveryPoint,
  repairRepository,
  type Repository,
  type SlotSecret,
  type UnlockedRepository,
  verifyRepository,
} from '@coffer/repository';
import { openMemoryStore } from '@coffer/storage/memory.ts';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { snapshot } from '../end-to-end/testing/snapshot.ts';
import { stateOf } from '../power-loss/small-source.ts';
import type { Damage } from './damages.ts';
import {
  EAGER_PLAN,
  type IntactPoint,
  IntactRepository,
  PASSPHRASE,
  stillClock,
} from './intact.ts';

const READ_ERRORS = ['chunk-damaged', 'chunk-missing', 'object-damaged'];

export class DamageMatrix {
  readonly intact: IntactRepository;
  /** What each path of each point holds when it is whole. */
  readonly #whole = new Map<string, Record<string, string>>();
  /** Hours since the fixture was made, by the clock of the store. */
  #hours = 0;

  private constructor(intact: IntactRepository) {
    this.intact = intact;
  }

  static async make(seed: number): Promise<DamageMatrix> {
    // Nothing here has to survive anything, so memory will do.
    const parent = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
    const folder = mkdtempSync(join(parent, 'coffer-damage-'));
    const matrix = new DamageMatrix(await IntactRepository.make(folder, seed));
    await matrix.#checkIntact();
    return matrix;
  }

  async close(): Promise<void> {
    await this.intact.close();
  }

  /** Everything that has to hold for one damage. */
  async check(damage: Damage, { thorough }: { readonly thorough: boolean }): Promise<void> {
    try {
      await this.#check(damage, thorough);
    } catch (error) {
      throw new Error(`${damage.description} (${thorough ? 'thorough' : 'quick'})`, {
        cause: error,
      });
    }
  }

  /** The index is lost, some of it or all: it is made anew from the packs, without a key. */
  async checkRebuild(isLost: (name: string) => boolean): Promise<void> {
    const names = Array.from(this.intact.objects.keys());
    const lost = names.filter((name) => name.startsWith('index/') && isLost(name));
    const changes = new Map(lost.map((name) => [name, undefined]));
    const store = await this.#damagedStore({ ...NOTHING, changes });
    this.intact.forget();
    const locked = await this.#openLater(store);
    const { indexRebuilt } = await repairRepository({ repository: locked, rebuildIndex: true });
    assert.ok(indexRebuilt);
    const repository = locked.unlockWith(this.intact.keys);
    const { findings } = await verifyRepository({ repository, readFraction: 1 });
    assert.deepEqual(findings, []);
    await this.#checkRestores(repository, NOTHING);
    await this.#checkCollection(repository, new Set());
  }

  async #check(damage: Damage, thorough: boolean): Promise<void> {
    const store = await this.#damagedStore(damage);
    // With and without what this machine remembers of the repository.
    if (this.intact.random.fraction() < 0.5) this.intact.forget();
    // Whatever is damaged: there are two objects for the config.
    const locked = await this.intact.open(store);
    const slots = Array.from(damage.changes.keys()).filter((name) => name.startsWith('keys/'));
    // Of two that are swapped, none is where its secret leads.
    if (thorough && slots.length === 1) await this.#checkUnlock(locked);
    const repository = locked.unlockWith(this.intact.keys);
    const { findings, pointsDamaged } = await verifyRepository({ repository, readFraction: 1 });
    if (damage.isFound) assert.ok(findings.length > 0, 'a verification finds it');
    const lost = this.intact.points.filter(damage.touches);
    if (damage.isExact) {
      const expected = lost.map(({ id }) => id).sort();
      assert.deepEqual(
        Array.from(pointsDamaged).sort(),
        expected,
        'it names the points that it touches',
      );
    }
    await this.#checkRestores(repository, damage);
    if (thorough) await this.#checkRepair(store, damage);
  }

  /** One slot that is damaged is no reason for the others not to open. */
  async #checkUnlock(repository: Repository): Promise<void> {
    const opened: SlotSecret[] = [];
    const { recoveryKey, service } = this.intact;
    for (const secret of [PASSPHRASE, recoveryKey, service.privateKey]) {
      try {
        await repository.unlock(secret);
        opened.push(secret);
      } catch (error) {
        assert.ok(isOneOf(error, ['object-damaged', 'passphrase-wrong']), String(error));
      }
    }
    assert.ok(opened.length >= 2, 'the slots that are not damaged open');
  }

  /** Points that are not touched restore whole; the others never with wrong bytes. */
  async #checkRestores(repository: UnlockedRepository, damage: Damage): Promise<void> {
    const points = await listed(repository);
    for (const expected of this.intact.points) {
      const isTouched = damage.touches(expected);
      const point = points.find(({ id }) => id === expected.id);
      if (!point) {
        assert.ok(isTouched, `point ${expected.id} of ${expected.item} is listed`);
        continue;
      }
      const failure = await this.#restore(repository, point);
      if (failure === undefined) {
        assert.ok(!(isTouched && damage.isExact), 'a restore of what is damaged fails');
        continue;
      }
      assert.ok(isTouched, `point ${expected.id} of ${expected.item} restores: ${failure.message}`);
      assert.ok(READ_ERRORS.includes(failure.code), failure.code);
      if (damage.isExact) this.#checkNames(failure, expected, damage);
    }
  }

  #checkNames({ message }: CofferError, point: IntactPoint, { changes }: Damage): void {
    assert.ok(message.includes(point.item), `the item is named: ${message}`);
    const [pack] = changes.keys();
    const chunks = (point.needs.get(pack!) ?? []).map(({ chunk }) => chunk);
    assert.ok(
      chunks.some((chunk) => message.includes(chunk)),
      `the chunk is named: ${message}`,
    );
  }

  /** The error of a restore; undefined when it restored what it has to. */
  async #restore(
    repository: UnlockedRepository,
    point: RecoveryPoint,
  ): Promise<CofferError | undefined> {
    const target = join(this.intact.folder, 'restored');
    rmSync(target, { recursive: true, force: true });
    const wanted = { path: '', include: [], dryRun: false, verify: false, conflict: undefined };
    try {
      const { findings } = await restore(testRun(), { repository, point, target, ...wanted });
      assert.deepEqual(findings, []);
    } catch (error) {
      if (!isCofferError(error)) throw error;
      this.#checkPart(target, point);
      return error;
    }
    assert.equal(stateOf(target, point.kind), point.tags['state'], 'it restores to its source');
    return undefined;
  }

  /** What a failed restore has left: no disk under its name, and no file that is not whole. */
  #checkPart(target: string, { id, kind }: RecoveryPoint): void {
    if (!existsSync(target)) return;
    assert.equal(kind, 'files', 'a disk that is not whole has no name');
    const whole = this.#whole.get(id)!;
    for (const [path, content] of Object.entries(contentsOf(target))) {
      assert.equal(content, whole[path], `${path} is whole, or not there`);
    }
  }

  /** Repair drops what is damaged and no more; the next backup makes whole what it meets. */
  async #checkRepair(store: ObjectStore, damage: Damage): Promise<void> {
    const repository = (await this.#openLater(store)).unlockWith(this.intact.keys);
    const repaired = await repairRepository({ repository, rebuildIndex: false });
    const named = new Set([...repaired.pointsDamaged, ...repaired.pointsDropped]);
    const after = await verifyRepository({ repository, readFraction: 1 });
    assert.deepEqual(after.pointsDamaged, repaired.pointsDamaged, 'a repair names what it left');
    if (named.size === 0) assert.deepEqual(after.findings, [], 'after a repair nothing is found');
    for (const { code } of after.findings) {
      assert.ok(
        ['chunk-missing', 'point-damaged'].includes(code),
        `only chunks are missing: ${code}`,
      );
    }
    await this.#checkRestores(repository, { ...damage, isExact: false });
    for (const kind of ['disk', 'files'] as const) await this.intact.backUp(repository, kind);
    const whole = await verifyRepository({ repository, readFraction: 1 });
    const lost = new Set(whole.pointsDamaged);
    for (const point of this.intact.points) {
      const isGone = repaired.pointsDropped.includes(point.id);
      if (lost.has(point.id))
        assert.ok(!point.isCurrent || isGone, 'a backup makes it whole again');
    }
    await this.#checkCollection(repository, lost);
  }

  /** A collection refuses as long as something is lost, and works when that was removed. */
  async #checkCollection(repository: UnlockedRepository, lost: ReadonlySet<string>): Promise<void> {
    for (const point of await listed(repository)) {
      if (!lost.has(point.id)) continue;
      for (const { holder } of await repository.holds(point.id)) {
        await repository.release(point, holder);
      }
      await repository.removePoint(point);
    }
    const before = (await listed(repository)).map(({ id }) => id);
    for (let round = 0; round < 2; round++) await collectGarbage({ repository, plan: EAGER_PLAN });
    const { findings } = await verifyRepository({ repository, readFraction: 1 });
    assert.deepEqual(findings, [], 'after a collection nothing is found');
    assert.deepEqual(
      (await listed(repository)).map(({ id }) => id),
      before,
    );
    for (const point of await listed(repository)) {
      assert.equal(await this.#restore(repository, point), undefined);
    }
  }

  /** When leases are over that were not when it was damaged. */
  async #openLater(store: ObjectStore): Promise<Repository> {
    this.#hours = 2;
    return await this.intact.open(store, this.#hours);
  }

  async #damagedStore({ changes }: Damage): Promise<ObjectStore> {
    this.#hours = 0;
    const clock = { ...stillClock(0), now: () => stillClock(this.#hours).now() };
    const store = openMemoryStore({ clock });
    for (const [name, bytes] of new Map([...this.intact.objects, ...changes])) {
      if (bytes) await store.put(name, bytes);
    }
    return store;
  }

  async #checkIntact(): Promise<void> {
    const store = await this.#damagedStore(NOTHING);
    const repository = (await this.intact.open(store)).unlockWith(this.intact.keys);
    for (const point of await listed(repository)) {
      assert.equal(await this.#restore(repository, point), undefined);
      const target = join(this.intact.folder, 'restored');
      if (point.kind === 'files') this.#whole.set(point.id, contentsOf(target));
    }
    await this.check(NOTHING, { thorough: true });
  }
}

const NOTHING: Damage = {
  description: 'nothing',
  changes: new Map(),
  isFound: false,
  touches: () => false,
  isExact: true,
};

async function listed(repository: Repository): Promise<RecoveryPoint[]> {
  return await repository.points({
    deleted: true,
    onDamaged: (error) => assert.ok(isCofferError(error, 'object-damaged')),
  });
}

function contentsOf(folder: string): Record<string, string> {
  const contents: Record<string, string> = {};
  for (const path of Object.keys(snapshot(folder))) {
    const full = join(folder, path);
    if (lstatSync(full).isFile()) contents[path] = readFileSync(full).toString('base64');
  }
  return contents;
}

function isOneOf(error: unknown, codes: readonly string[]): boolean {
  return error instanceof CofferError && codes.includes(error.code);
}
