/**
 * A machine without a system in it, for what its disks are and where they lie: it is defined with any
 * XML of disks, and starts at once. What it holds is written and read while it is off.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LibvirtSite } from '../../guests/libvirt-site.ts';

/** At the begin of each disk that a test marks. */
const MARK_BYTES = 65_536;

export class BareMachine {
  readonly name: string;
  readonly #site: LibvirtSite;

  constructor(site: LibvirtSite, name: string) {
    this.#site = site;
    this.name = name;
  }

  /** `more` is XML below `<domain>`; a machine that is there already is changed. */
  define(
    devices: readonly string[],
    more = '<os><type arch="x86_64" machine="pc">hvm</type></os>',
  ) {
    const xml =
      `<domain type='qemu'><name>${this.name}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>` +
      `${more}<devices>${devices.join('')}<controller type='usb' model='none'/>` +
      `<memballoon model='none'/></devices></domain>`;
    this.virshOf('define', xml);
  }

  get uuid(): string {
    return this.virsh('domuuid', this.name).trim();
  }

  get state(): string {
    return this.virsh('domstate', this.name).trim();
  }

  /** What `virsh` prints. */
  virsh(...words: readonly string[]): string {
    const all = ['-q', '-c', this.#site.uri, ...words];
    return execFileSync('virsh', all, { stdio: ['ignore', 'pipe', 'pipe'] }).toString();
  }

  /** For a command that reads a definition. */
  virshOf(command: string, xml: string): string {
    const path = join(this.#site.folder, 'definition.xml');
    writeFileSync(path, xml);
    return this.virsh(command, path);
  }
}

export function fileDisk(target: string, path: string, format = 'qcow2'): string {
  return disk(target, 'file', `<source file='${path}'/>`, format);
}

/** `type` is that of the source. */
export function disk(target: string, type: string, source: string, format = 'qcow2'): string {
  return (
    `<disk type='${type}' device='disk'><driver name='qemu' type='${format}'/>${source}` +
    `<target dev='${target}' bus='virtio'/></disk>`
  );
}

export function createImage(path: string, ...options: readonly string[]): void {
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', ...options, path, '4M']);
}

/** Fills the begin of an image with a byte, as a guest would. */
export function mark(path: string, byte: number, format = 'qcow2'): void {
  qemuIo(path, format, `write -P ${byte} 0 ${MARK_BYTES}`);
}

/** Fails when the begin of an image is not filled with the byte. */
export function assertMarked(path: string, byte: number, format = 'qcow2'): void {
  const said = qemuIo(path, format, `read -P ${byte} 0 ${MARK_BYTES}`);
  if (said.includes('Pattern verification failed')) throw new Error(`${path} is not ${byte}`);
}

function qemuIo(path: string, format: string, command: string): string {
  return execFileSync('qemu-io', ['-f', format, '-c', command, path]).toString();
}
