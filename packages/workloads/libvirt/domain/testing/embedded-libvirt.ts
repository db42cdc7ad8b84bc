/**
 * The libvirt driver of QEMU inside of `virsh`, with all its state in a folder: the judge of what we
 * write, without a daemon. Fails where virsh (libvirt-clients) or the driver (libvirt-daemon) is
 * missing.
 */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

const SETTINGS = [
  'stdio_handler = "file"',
  'security_driver = "none"',
  'user = "root"',
  'group = "root"',
  'cgroup_controllers = [ ]',
  'namespaces = [ ]',
];

export interface EmbeddedLibvirt {
  /** For files that commands name. */
  readonly folder: string;
  /** Runs the commands one after the other in one virsh. Rejects when one of them fails. */
  readonly virsh: (...commands: string[]) => Promise<string>;
  /** Writes a file and returns its path. */
  readonly write: (name: string, text: string) => Promise<string>;
  readonly close: () => Promise<void>;
}

export async function embeddedLibvirt(): Promise<EmbeddedLibvirt> {
  // Short, since the paths of sockets are.
  const folder = await mkdtemp(join(tmpdir(), 'lv-'));
  await mkdir(join(folder, 'root/etc'), { recursive: true });
  await writeFile(join(folder, 'root/etc/qemu.conf'), SETTINGS.join('\n'));
  const uri = `qemu:///embed?root=${folder}/root`;
  return {
    folder,
    async virsh(...commands) {
      const { stdout, stderr } = await run('virsh', ['-q', '-c', uri, commands.join('; ')], {
        timeout: 60_000,
      });
      const failure = /^error: .*/m.exec(stderr)?.[0];
      if (failure !== undefined) throw new Error(stderr);
      return stdout;
    },
    async write(name, text) {
      const path = join(folder, name);
      await writeFile(path, text);
      return path;
    },
    close: async () => await rm(folder, { recursive: true, force: true }),
  };
}

/** Makes an image with the tool of QEMU. */
export async function makeImage(path: string, format: string, size: string): Promise<void> {
  await run('qemu-img', ['create', '-q', '-f', format, path, size]);
}
