/** Whether somebody serves a socket. */
import { once } from 'node:events';
import { connect } from 'node:net';

export async function isServed(path: string): Promise<boolean> {
  const socket = connect(path);
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
