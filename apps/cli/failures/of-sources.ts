/** What to do when something is wrong with what is protected: paths, images, NBD servers and virtual machines. */
import type { ErrorCode } from '@coffer/base';
import { type FailureRow, row } from './failure-row.ts';

export const SOURCE_FAILURES = {
  'source-not-found': row(14, 'Check the path.'),
  'source-unreadable': row(14, 'Check the permissions; an image or a block device needs --disk.'),
  'source-changed': row(14, 'Back up a snapshot, or an image that nothing writes to.'),
  'image-damaged': row(14, 'Check the image with the tools of its format, or use an intact copy.'),
  'image-unsupported': row(14, 'Convert it, for example with `qemu-img convert -O raw`.'),
  'image-format-unknown': row(14, 'Give it with --format raw, qcow2, vhd, vhdx, vmdk or vdi.'),
  'image-parent-missing': row(14, 'Put the whole chain of images into one folder.'),
  'image-parent-changed': row(
    14,
    'The child cannot be read any more; use a copy of the chain from before the change.',
  ),
  'image-chain-cyclic': row(14, 'Correct the parent locators of the chain.'),
  'image-encrypted': row(14, 'Decrypt it first, for example with `qemu-img convert`.'),
  'image-busy': row(14, 'Stop it, or back up the running machine instead of its image.'),
  'nbd-unreachable': row(21, 'Check the address, and that the server runs.'),
  'nbd-timeout': row(21, 'Check the server, then run the command again.'),
  'nbd-refused': row(22, 'Check the name of the export, and whether the server asks for TLS.'),
  'nbd-protocol': row(21, 'Check that it is an NBD server of the newstyle.'),
  'nbd-failed': row(14, 'See the log of the server.'),
  'libvirt-unreachable': row(21, 'Check --connect, and that libvirtd runs.'),
  'libvirt-denied': row(22, 'Run as root, or as a member of the group libvirt.'),
  'libvirt-failed': row(14, 'See the log of libvirtd.'),
  'vm-not-found': row(12, 'See `coffer vms`.'),
  'vm-busy': row(14, 'Wait for it, or end it with `virsh domjobabort`.'),
  'vm-stopped': row(14, 'Run the backup again; it works on a machine that is off, too.'),
  'vm-saved': row(14, 'Start it, or drop what is saved with `virsh managedsave-remove`.'),
  'vm-name-taken': row(15, 'Choose another name with --as.'),
  'memory-not-captured': row(
    14,
    'Leave --memory out, or see `coffer vms` for what the guest needs to be frozen.',
  ),
  'consistency-not-reached': row(
    14,
    'See `coffer vms` for what is missing, or demand less with --consistency best.',
  ),
  'agent-unavailable': row(14, 'Install and start qemu-guest-agent in the guest.'),
  'scratch-full': row(23, 'Make space in the scratch folder, or choose another with --scratch.'),
} as const satisfies Partial<Record<ErrorCode, FailureRow>>;
