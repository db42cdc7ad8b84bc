/**
 * Protection of blobs in containers with immutability at the level of versions. Such containers keep
 * versions: a blob that is deleted becomes an earlier version of itself, which takes its space on.
 */
import type { BlobClient, BlobGetPropertiesResponse } from '@azure/storage-blob';
import { CofferError } from '@coffer/base';
import type { Signals } from '../http-calls.ts';
import { propertiesOf } from './properties.ts';

/** In the mode that nobody can lift, whoever has the credentials. It never ends earlier than before. */
export async function lockUntil(
  blob: BlobClient,
  untilMs: number,
  signals: Signals,
): Promise<void> {
  const until = new Date(Math.ceil(untilMs / 1000) * 1000);
  const properties = await blob.getProperties(signals);
  const before = properties.immutabilityPolicyExpiresOn;
  // The default of a container is not locked: it could be ended earlier, also by this call.
  const isLocked = properties.immutabilityPolicyMode?.toLowerCase() === 'locked';
  const isLonger = before !== undefined && before >= until;
  if (isLocked && isLonger) return;
  const expiriesOn = isLonger ? before : until;
  await blob.setImmutabilityPolicy({ expiriesOn, policyMode: 'Locked' }, signals);
}

/** Fails with `object-protected`, and leaves the blob under its name then. */
export async function deleteVersion(blob: BlobClient, signals: Signals): Promise<void> {
  const properties = await propertiesOf(blob, signals);
  if (!properties) return;
  // Asked here, since Azure may hide what it protects: only the version cannot be deleted.
  refuseProtected(blob, properties);
  await blob.deleteIfExists(signals);
  const { versionId } = properties;
  if (versionId !== undefined) await blob.withVersion(versionId).deleteIfExists(signals);
}

/** By the server's clock. */
function refuseProtected(blob: BlobClient, properties: BlobGetPropertiesResponse): void {
  const { immutabilityPolicyExpiresOn: until, legalHold, date } = properties;
  const isPast = until === undefined || (date !== undefined && until <= date);
  if (isPast && legalHold !== true) return;
  throw new CofferError('object-protected', { object: blob.name, until: until?.toISOString() });
}
