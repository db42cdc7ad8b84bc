/** How a client shows who it is, before anything else. */
import { CofferError } from '@coffer/base';
import { type RpcClient } from './client.ts';
import { connectionProcedures } from './procedures.ts';

const AUTHENTICATION = { none: 0, polkit: 2 } as const;

/**
 * Libvirt knows who is at the other end of a local socket, and polkit decides what that user may.
 * Fails with `libvirt-denied` when it does not let us in, or wants a password.
 */
export async function authenticate(client: RpcClient): Promise<void> {
  const ways = await client.call(connectionProcedures.authentications, []);
  if (ways.length === 0 || ways.includes(AUTHENTICATION.none)) return;
  if (!ways.includes(AUTHENTICATION.polkit)) {
    throw new CofferError('libvirt-denied', { reason: 'it asks for SASL', ways: ways.join(' ') });
  }
  await client.call(connectionProcedures.authenticateByPolkit, []);
}
