/**
 * Keys of a repository and the slots that keep them.
 *
 * A slot wraps the private key and the hash key under a passphrase or the recovery key. Slots are
 * objects of their own (`keys/<id>`), so that they are added and removed without rewriting anything.
 * Invariants: a slot says whose keys it wraps, and only those of the config count, so an init that
 * was killed leaves slots that nobody sees; what a slot opens to is accepted only when it matches
 * the config, so a slot that a stranger put into the store opens nothing. FORMAT.md, section 5.
 */
import { createCipheriv, createDecipheriv, hkdfSync, scrypt } from 'node:crypto';
import { CofferError, isCofferError, type Random } from '@coffer/base';
import { type ObjectStore, refuseAppendOnly } from '@coffer/storage/object-store.ts';
import * as v from 'valibot';
import { hashKeyCheck, type RepositoryConfig } from './config.ts';
import { count, decodeRecord, encodeRecord, hexOf } from './record.ts';
import { isRecoveryKey, recoverySecret } from './recovery-key.ts';
import { publicKeyOf } from './sealed-box.ts';
import { getRecordIfThere, putIfAbsent } from './store-calls.ts';

export const PASSPHRASE_LENGTH_MIN = 16;

/** What a writer needs: it can add points and cannot read them. */
export interface WriterKeys {
  readonly publicKey: Buffer;
  readonly hashKey: Buffer;
}

/** What a reader needs besides. */
export interface RepositoryKeys extends WriterKeys {
  readonly privateKey: Buffer;
}

// 64 MiB and about 0.15 s: a guess costs an attacker as much.
const SCRYPT = { N: 65_536, r: 8, p: 1, maxmem: 128 * 1024 * 1024 } as const;

const KeyRecord = v.object({
  /** Of the key domain. */
  publicKey: hexOf(32),
  kind: v.picklist(['passphrase', 'recovery']),
  label: v.pipe(v.string(), v.maxLength(200)),
  createdAt: count,
  salt: hexOf(32),
  wrapped: hexOf(80),
});

export interface KeySlot extends v.InferOutput<typeof KeyRecord> {
  /** Its name in `keys/`, 8 random bytes in hexadecimal. */
  readonly slot: string;
}

/** Where slots lie, and which of them count. */
export interface SlotFolder {
  readonly store: ObjectStore;
  readonly config: Pick<RepositoryConfig, 'publicKey'>;
}

export interface NewSlot {
  readonly keys: RepositoryKeys;
  readonly kind: KeySlot['kind'];
  /** The passphrase or the recovery key. */
  readonly secret: string;
  readonly label: string;
  readonly createdAt: number;
  readonly random: Random;
}

/** Fails with `passphrase-weak` when a passphrase is too short. */
export function checkPassphrase(passphrase: string): void {
  const { length } = Array.from(passphrase);
  if (length < PASSPHRASE_LENGTH_MIN) throw new CofferError('passphrase-weak', { length });
}

export async function newKeySlot(options: NewSlot): Promise<KeySlot> {
  const { keys, kind, secret, label, createdAt, random } = options;
  if (kind === 'passphrase') checkPassphrase(secret);
  const salt = random.bytes(32);
  const wrapped = wrap(await slotKey(kind, secret, salt), keys);
  return {
    slot: random.bytes(8).toString('hex'),
    publicKey: keys.publicKey.toString('hex'),
    kind,
    label,
    createdAt,
    salt: salt.toString('hex'),
    wrapped: wrapped.toString('hex'),
  };
}

export async function writeKeySlot(store: ObjectStore, keySlot: KeySlot): Promise<void> {
  const { slot, ...record } = keySlot;
  // An init with the keys of another repository may have been killed after it wrote the same slot.
  await putIfAbsent(store, slotName(slot), encodeRecord('key', record));
}

/** Damaged slots are told to `onDamaged`, or thrown: another slot may open. */
export async function readKeySlots(
  { store, config }: SlotFolder,
  onDamaged?: (error: CofferError, name: string) => void,
): Promise<KeySlot[]> {
  const slots = await readAllSlots(store, onDamaged);
  return slots
    .filter(({ publicKey }) => publicKey === config.publicKey)
    .sort((a, b) => a.createdAt - b.createdAt);
}

/** Once there is a config, slots of other keys are what an init left that was killed or too late. */
export async function removeSlotsOfOthers({ store, config }: SlotFolder): Promise<void> {
  // Nobody reads them: they can stay where nobody deletes.
  if (!store.capabilities.deletes) return;
  const slots = await readAllSlots(store, () => {});
  for (const { slot, publicKey } of slots) {
    if (publicKey !== config.publicKey) await store.delete(slotName(slot));
  }
}

async function readAllSlots(
  store: ObjectStore,
  onDamaged: ((error: CofferError, name: string) => void) | undefined,
): Promise<KeySlot[]> {
  const slots: KeySlot[] = [];
  for await (const { name } of store.list('keys/')) {
    const slot = /^keys\/([0-9a-f]{16})$/.exec(name)?.[1];
    if (slot === undefined) continue;
    try {
      const bytes = await getRecordIfThere(store, name);
      if (bytes) slots.push({ slot, ...decodeRecord('key', KeyRecord, bytes, name) });
    } catch (error) {
      if (!onDamaged || !isCofferError(error, 'object-damaged')) throw error;
      onDamaged(error, name);
    }
  }
  return slots;
}

/** Removes a slot by its name or enough of its beginning. Damaged ones open nothing: they do not count. */
export async function removeKeySlot(folder: SlotFolder, slot: string): Promise<void> {
  refuseAppendOnly(folder.store);
  const slots = await readKeySlots(folder, () => {});
  const found = slots.filter((each) => each.slot.startsWith(slot));
  if (slot.length < 4 || found.length !== 1) throw new CofferError('key-slot-not-found', { slot });
  if (slots.length === 1) throw new CofferError('key-slot-last', { slot });
  await folder.store.delete(slotName(found[0]!.slot));
}

/** The keys that `secret` (a passphrase or the recovery key) opens, or `passphrase-wrong`. */
export async function unlockKeys(
  config: RepositoryConfig,
  slots: readonly KeySlot[],
  secret: string,
): Promise<RepositoryKeys> {
  const kind = isRecoveryKey(secret) ? 'recovery' : 'passphrase';
  for (const slot of slots) {
    if (slot.kind !== kind) continue;
    const keys = unwrap(await slotKey(kind, secret, Buffer.from(slot.salt, 'hex')), slot);
    if (keys && matchesConfig(config, keys)) return keys;
  }
  throw new CofferError('passphrase-wrong', { slotsTried: slots.length });
}

function slotName(slot: string): string {
  return `keys/${slot}`;
}

/** True when these are the keys that the repository was made with. */
export function matchesConfig(config: RepositoryConfig, keys: RepositoryKeys): boolean {
  return (
    keys.publicKey.toString('hex') === config.publicKey &&
    hashKeyCheck(keys.hashKey) === config.hashKeyCheck
  );
}

async function slotKey(kind: KeySlot['kind'], secret: string, salt: Buffer): Promise<Buffer> {
  if (kind === 'recovery') {
    // 160 random bits need no slow derivation.
    return Buffer.from(
      hkdfSync('sha256', recoverySecret(secret), salt, 'coffer 1 recovery key', 32),
    );
  }
  return await new Promise((resolve, reject) => {
    scrypt(secret.normalize('NFC'), salt, 32, SCRYPT, (error, key) =>
      error ? reject(error) : resolve(key),
    );
  });
}

// The slot key is used once, with its own salt, so the nonce can be constant.
const NONCE = Buffer.alloc(12);

function wrap(key: Buffer, keys: RepositoryKeys): Buffer {
  const cipher = createCipheriv('aes-256-gcm', key, NONCE);
  const content = Buffer.concat([keys.privateKey, keys.hashKey]);
  return Buffer.concat([cipher.update(content), cipher.final(), cipher.getAuthTag()]);
}

function unwrap(key: Buffer, slot: KeySlot): RepositoryKeys | undefined {
  const wrapped = Buffer.from(slot.wrapped, 'hex');
  const decipher = createDecipheriv('aes-256-gcm', key, NONCE, { authTagLength: 16 });
  decipher.setAuthTag(wrapped.subarray(64));
  const content = decipher.update(wrapped.subarray(0, 64));
  try {
    decipher.final();
  } catch {
    // A wrong passphrase is an expected outcome: another slot may open.
    return undefined;
  }
  const privateKey = content.subarray(0, 32);
  return { privateKey, publicKey: publicKeyOf(privateKey), hashKey: content.subarray(32) };
}
