import type { BlobClient, BlobGetPropertiesResponse } from '@azure/storage-blob';
import type { Signals } from '../http-calls.ts';
import { factsOf } from './errors.ts';

/** What Azure knows of a blob, or undefined when there is none. */
export async function propertiesOf(
  blob: BlobClient,
  signals: Signals,
): Promise<BlobGetPropertiesResponse | undefined> {
  try {
    return await blob.getProperties(signals);
  } catch (error) {
    if (factsOf(error).status === 404) return undefined;
    throw error;
  }
}
